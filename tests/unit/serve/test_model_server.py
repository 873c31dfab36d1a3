"""One replica behind the protocol's routes, with a model that is a few lines long and no Ray."""

import asyncio

import httpx
import pytest
from ray import serve as ray_serve

from platform_app.specs import DeploymentSpec
from serve.app import ModelServer, build
from tests.unit.serve.sum_model import ROWS, SERVED, TOKEN, SumModel, serving


class Client:
    """Asks a server's routes as Serve's proxy does, with a token."""

    def __init__(self, server):
        self._app = server.__serve_build_asgi_app__()

    def request(self, method, path, **arguments):
        return asyncio.run(self._request(method, path, {"authorization": f"Bearer {TOKEN}"}, **arguments))

    async def _request(self, method, path, default_headers, **arguments):
        transport = httpx.ASGITransport(self._app, root_path="/v2/models/digits")
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=default_headers) as client:
            return await client.request(method, f"/v2/models/digits{path}", **arguments)

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)

    def post(self, path, **arguments):
        return self.request("POST", path, **arguments)


@pytest.fixture
def client():
    return Client(serving(SumModel()))


def test_a_prediction_says_which_model_made_it(client):
    answer = client.post("/infer", json={"id": "42", "inputs": [ROWS]})
    assert answer.status_code == 200
    assert answer.headers["slipway-deployment"] == "digits"
    assert answer.headers["slipway-model-version"] == "3"
    assert answer.json() == {
        "model_name": "digits",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [2], "data": [3.0, 7.0]}],
    }


def test_the_metadata_are_the_models(client):
    assert client.get("").json() == {
        "name": "digits",
        "versions": ["3"],
        "platform": "test_sum",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1]}],
    }


def test_the_version_served_answers_under_its_number_too(client):
    assert client.get("/versions/3").json()["versions"] == ["3"]
    assert client.get("/versions/3/ready").json() == {"name": "digits", "ready": True}
    assert client.post("/versions/3/infer", json={"inputs": [ROWS]}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer")])
def test_another_version_is_not_found(client, method, path):
    answer = client.request(method, f"/versions/2{path}", json={"inputs": [ROWS]})
    assert answer.status_code == 404
    assert answer.json() == {"error": "digits serves version 3; got version 2"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not json", "the body must be JSON: expected ident at line 1 column 2"),
        (b'{"inputs": []}', "inputs: Tuple should have at least 1 item after validation, not 0; got []"),
    ],
)
def test_a_body_that_is_no_request_is_the_clients_mistake(client, body, message):
    answer = client.post("/infer", content=body)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "y"}, "the model takes the inputs 'x'; got 'y'"),
        ({"datatype": "FP64"}, "input 'x': expected datatype FP32; got FP64"),
        ({"shape": [4]}, "input 'x': expected shape [-1, 2] (-1: any size); got [4]"),
        ({"shape": [0, 2], "data": []}, "input 'x': shape [0, 2] holds nothing; send at least one row"),
    ],
)
def test_an_input_that_is_not_the_models_is_the_clients_mistake(client, change, message):
    answer = client.post("/infer", json={"inputs": [ROWS | change]})
    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_an_unknown_output_is_refused_before_the_model_runs(client):
    rows = ROWS | {"data": [-1, 2, 3, 4]}
    answer = client.post("/infer", json={"inputs": [rows], "outputs": [{"name": "mean"}]})
    assert answer.json() == {"error": "the model gives the outputs 'sum'; got 'mean'"}
    assert answer.status_code == 400


def test_a_model_that_raises_is_an_error_of_the_server_and_the_replica_lives(client):
    answer = client.post("/infer", json={"inputs": [ROWS | {"data": [-1, 2, 3, 4]}]})
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model failed: ValueError: negative numbers are not for me"}
    assert client.post("/infer", json={"inputs": [ROWS]}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_only_known_tokens_may_ask(client, header):
    answer = client.post("/infer", json={"inputs": [ROWS]}, headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {"error": "send an API token of the platform: Authorization: Bearer TOKEN"}


def test_ready_is_open(client):
    assert client.get("/ready", headers={"authorization": ""}).status_code == 200


def test_nobody_may_ask_before_there_are_tokens():
    server = ModelServer(SERVED, load=lambda _: SumModel())
    assert Client(server).post("/infer", json={"inputs": [ROWS]}).status_code == 401


def test_a_replica_that_stops_lets_go_of_its_model():
    model = SumModel()
    server = ModelServer(SERVED, load=lambda _: model)
    assert not model.closed
    del server
    assert model.closed


def test_a_path_that_is_not_there_is_answered_in_the_protocols_form(client):
    assert client.get("/explain").json() == {"error": "Not Found: GET /v2/models/digits/explain"}
    assert client.get("/infer").status_code == 405


def _options(**changes):
    served = SERVED.model_copy(update=changes)
    return build(served)._bound_deployment


def test_what_a_replica_runs_is_named_by_what_it_is_built_from():
    known = _options().version
    assert _options().version == known
    assert _options(token_digests=()).version == known
    assert _options(spec=SERVED.spec.model_copy(update={"max_replicas": 4})).version == known
    assert _options(version=4).version != known


def test_tokens_reach_replicas_by_configuration_and_not_by_a_restart():
    assert _options().user_config == {"token_digests": list(SERVED.token_digests), "revision": 1, "split": None}
    (argument,) = _options().init_args
    assert argument.token_digests == ()


def test_a_deployment_that_scales_to_zero_starts_once_to_prove_its_version():
    scaling = _options(spec=DeploymentSpec(model="mlp", min_replicas=0, max_replicas=3))._deployment_config
    assert scaling.autoscaling_config.initial_replicas == 1
    assert _options()._deployment_config.autoscaling_config.initial_replicas is None


def test_serving_keeps_off_spot_workers_and_without_a_gpu_off_those_that_have_some():
    off = {"ray.io/market-type": "!spot"}
    assert _options().ray_actor_options["label_selector"] == off | {"slipway.io/gpus": "!true"}
    on_gpus = _options(spec=DeploymentSpec(model="mlp", gpus_per_replica=1))
    assert on_gpus.ray_actor_options["label_selector"] == off


def test_the_builder_gives_a_serve_application():
    assert isinstance(build(SERVED), ray_serve.Application)
