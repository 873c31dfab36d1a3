"""The protocol's definition, `open_inference.yaml`, holds for what is answered below `/v2`.

The control plane and a replica answer side by side here, routed by path as Serve's proxy does.
"""

import json
import math
from pathlib import Path

import jsonschema
import pytest
import yaml

from platform_app.specs import DeploymentSpec
from tests.control_plane import TOKEN
from tests.unit.serve.sum_model import ROWS, SumModel, serving

DEFINITION = yaml.safe_load(Path(__file__).with_name("open_inference.yaml").read_text())
OPERATIONS = [(method, path) for path, methods in DEFINITION["paths"].items() for method in methods]
SERVED = {"model": "digits", "version": "3"}
PREFIX = "/v2/models/digits"
INFER = ("post", "/v2/models/{model}/infer")


@pytest.fixture
def app(app):
    door = serving(SumModel(), TOKEN).__serve_build_asgi_app__()

    async def routed(scope, receive, send):
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PREFIX}/"):
            await door({**scope, "root_path": PREFIX}, receive, send)
        else:
            await app(scope, receive, send)

    return routed


def follows(value, schema):
    """Check a value against a part of the definition."""
    jsonschema.Draft202012Validator({**schema, "components": DEFINITION["components"]}).validate(value)


def ask(client, operation, named=SERVED, **sent):
    """Send what the definition allows, or `sent` as it is, and check that the answer is one that it describes."""
    method, path = operation
    described = DEFINITION["paths"][path][method]
    if "json" in sent:
        follows(sent["json"], described["requestBody"]["content"]["application/json"]["schema"])
    answer = client.request(method, path.format(**named), **sent)
    responses = described["responses"]
    found = responses.get(str(answer.status_code)) or responses.get("default") or responses["4XX"]
    if "$ref" in found:
        found = DEFINITION["components"]["responses"][found["$ref"].rpartition("/")[2]]
        assert answer.headers["content-type"] == "application/json"
        follows(answer.json(), found["content"]["application/json"]["schema"])
    return answer


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_answers_as_defined(api, operation):
    sent = {"json": {"inputs": [ROWS]}} if operation[0] == "post" else {}
    assert ask(api, operation, **sent).status_code == 200


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whom_nobody_knows_is_told_so_as_defined(anyone, operation):
    is_open = "health" in operation[1] or operation[1].endswith("ready")
    assert ask(anyone, operation).status_code == (200 if is_open else 401)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if "{model}" in one[1]])
@pytest.mark.parametrize("model", ["nobody", "starting"])
def test_a_model_that_does_not_answer_is_told_as_defined(api, plane, operation, model):
    plane.registry.add_version("mlp")
    plane.registry.set_alias("mlp", "champion", 1)
    plane.deployments.put("starting", DeploymentSpec(model="mlp"))
    answer = ask(api, operation, SERVED | {"model": model})
    assert answer.status_code == (404 if model == "nobody" else 503)
    assert model in answer.json()["error"]


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if "{version}" in one[1]])
@pytest.mark.parametrize("version", ["2", "newest"])
def test_a_version_that_is_not_served_is_told_as_defined(api, operation, version):
    assert ask(api, operation, SERVED | {"version": version}).status_code == 404


@pytest.mark.parametrize(
    "request_fields",
    [
        {},
        {"id": "42"},
        {"parameters": {"priority": 1, "trace": "on", "quick": True}},
        {"outputs": [{"name": "sum"}]},
        {"outputs": [{"name": "sum", "parameters": {"classification": 0}}]},
    ],
)
def test_tensors_are_as_long_as_their_shape_says_and_the_id_comes_back(api, request_fields):
    answer = ask(api, INFER, json={"inputs": [ROWS], **request_fields}).json()
    assert answer.get("id") == request_fields.get("id")
    assert (answer["model_name"], answer["model_version"]) == ("digits", "3")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"]) == ("sum", "FP32")
    assert len(output["data"]) == math.prod(output["shape"]) == 2


def test_the_json_before_binary_tensors_is_as_defined(api):
    sent = {"inputs": [ROWS], "parameters": {"binary_data_output": True}}
    follows(sent, {"$ref": "#/components/schemas/Request"})
    answer = api.post(f"{PREFIX}/infer", json=sent)
    length = int(answer.headers["inference-header-content-length"])
    told = json.loads(answer.content[:length])
    follows(told, {"$ref": "#/components/schemas/Response"})
    assert told["outputs"][0]["parameters"]["binary_data_size"] == len(answer.content) - length


@pytest.mark.parametrize(
    "change",
    [
        {"name": "y"},
        {"shape": [4]},
        {"shape": [1, 2]},
        {"shape": [0, 2], "data": []},
        {"datatype": "INT64"},
        {"datatype": "FP64"},
        {"data": [1, "two", 3, 4]},
    ],
)
def test_an_input_that_does_not_fit_is_told_as_defined(api, change):
    assert ask(api, INFER, json={"inputs": [ROWS | change]}).status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'{"inputs": []}', b'{"inputs": [{"name": "x"}]}', b'{"inputs": [{"datatype": 8}]}'],
)
def test_a_body_that_is_no_request_is_told_as_defined(api, body):
    assert ask(api, INFER, content=body).status_code == 400


def test_a_model_that_fails_is_told_as_defined(api):
    assert ask(api, INFER, json={"inputs": [ROWS | {"data": [-1, 2, 3, 4]}]}).status_code == 500


def test_an_output_that_the_model_lacks_is_told_as_defined(api):
    assert ask(api, INFER, json={"inputs": [ROWS], "outputs": [{"name": "mean"}]}).status_code == 400


@pytest.mark.parametrize("path", ["/v2/no/such/route", "/v2/models/nobody/infer", f"{PREFIX}/explain"])
def test_whatever_else_goes_wrong_below_the_protocols_path_has_its_form(api, path):
    answer = api.request("DELETE", path)
    assert answer.status_code in (404, 405)
    follows(answer.json(), {"$ref": "#/components/schemas/Error"})


def test_the_definition_knows_what_is_wrong():
    wrong = [
        ("Response", {"model_name": "m"}),
        ("Response", {"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32"}]}),
        ("Response", {"model_name": "m", "outputs": [ROWS | {"datatype": "float32"}]}),
        ("Request", {"inputs": []}),
        ("Model", {"name": "m", "inputs": [], "outputs": []}),
        ("Error", {"detail": "no"}),
    ]
    for name, value in wrong:
        with pytest.raises(jsonschema.ValidationError):
            follows(value, {"$ref": f"#/components/schemas/{name}"})
