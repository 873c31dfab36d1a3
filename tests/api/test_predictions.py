"""Predictions for plain rows, through the control plane's own API."""

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
