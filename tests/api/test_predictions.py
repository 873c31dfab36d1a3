"""Predictions for plain rows, through the control plane's own API."""

import pytest

from platform_app.ports import Prediction
from platform_app.specs import DeploymentSpec


def deploy(plane):
    plane.registry.add_version("mlp")
    plane.registry.set_alias("mlp", "champion", 1)
    plane.deployments.put("digits", DeploymentSpec(model="mlp"))


def test_rows_go_to_the_deployment_as_they_came(plane, api):
    deploy(plane)
    answer = api.post("/v1/deployments/digits/predict", content=b'{"rows": [[1]]}')
    assert answer.status_code == 200
    assert answer.json() == {"predictions": []}
    assert answer.headers["slipway-model-version"] == "1"
    assert plane.predictions.asked == [("digits", b'{"rows": [[1]]}')]


def test_the_callers_headers_go_along_as_they_may_name_a_model_or_a_key(plane, api):
    deploy(plane)
    api.post("/v1/deployments/digits/predict", json={"rows": [[1]]}, headers={"Serve_Multiplexed_Model_Id": "north"})
    assert plane.predictions.headers[b"serve_multiplexed_model_id"] == b"north"


MULTIPLEXED = {"models": [{"model": "north", "version": 1}]}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"multiplexed": {"models": []}}, "at least 1 item"),
        ({"multiplexed": {"models": MULTIPLEXED["models"] * 2}}, "north is there twice"),
        ({"multiplexed": MULTIPLEXED | {"max_num_models_per_replica": 0}}, "greater than or equal to 1"),
        ({"multiplexed": {"models": [{"model": "north"}]}}, "required"),
        ({"multiplexed": {"models": [{"model": "mlp", "version": 1}]}}, "mlp is the deployment's own model"),
        ({"multiplexed": MULTIPLEXED, "llm": {}}, "a language model's engine holds one model"),
    ],
)
def test_models_that_cannot_be_multiplexed_are_refused_with_the_reason(plane, api, spec, message):
    deploy(plane)
    refused = api.put("/v1/deployments/several", json={"model": "mlp"} | spec)
    assert refused.status_code == 422
    told = [f"{error['field']}: {error['message']}" for error in refused.json()["errors"]]
    assert any("multiplexed" in one and message in one for one in told), told


def test_what_the_model_refuses_is_a_problem_document(plane, api):
    deploy(plane)
    plane.predictions.answer = Prediction(400, b"", "rows: send at least one", {})
    answer = api.post("/v1/deployments/digits/predict", json={"rows": []})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "rows: send at least one"


def test_a_deployment_that_is_not_there_is_not_found(api):
    assert api.post("/v1/deployments/nobody/predict", json={"rows": [[1]]}).status_code == 404


def test_a_language_model_answers_below_a_path_of_its_own(plane, api):
    deploy(plane)
    stored = api.put("/v1/deployments/chat", json={"model": "mlp", "llm": {"engine_kwargs": {"max_model_len": 128}}})
    assert stored.status_code == 200
    assert stored.json()["url"] == "/llm/chat"
    assert api.get("/v1/deployments/chat").json()["spec"]["llm"] == {"engine_kwargs": {"max_model_len": 128}}


def test_what_does_not_fit_a_language_model_is_named(plane, api):
    deploy(plane)
    refused = api.put("/v1/deployments/chat", json={"model": "mlp", "llm": {"engine_kwargs": {"model": "x"}}})
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == "llm.engine_kwargs"
    assert error["message"].endswith("model is not given here: the registered model's version is served")
