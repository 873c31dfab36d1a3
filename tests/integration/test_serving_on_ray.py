"""Real models on a real Ray Serve: right numbers, every bad input, promotion under load, failure, scale to zero."""

import hashlib
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from platform_app.adapters.ray_serve import RayServing
from platform_app.specs import DeploymentSpec, ServedModel
from tests.plain_ray import free_port
from tests.serving_on_ray import eventually, log_models, mlflow_store, mlp, serving_cluster, settled

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

TOKEN = "secret-of-a-team"
IMAGES = np.random.default_rng(0).random((5, 64), dtype="float32")


@dataclass
class World:
    """A cluster that serves, the models it may serve, and a client with a token."""

    serving: RayServing
    client: httpx.Client
    grpc_address: str
    tracking_uri: str
    mlps: dict[int, Any]
    forest: Any

    def deploy(self, name: str, version: int = 1, model: str | None = None, **spec: Any) -> None:
        self.serving.apply(
            ServedModel(
                deployment=name,
                spec=DeploymentSpec(model=model or name, cpus_per_replica=0.5, **spec),
                version=version,
                tracking_uri=self.tracking_uri,
                token_digests=(hashlib.sha256(TOKEN.encode()).hexdigest(),),
            )
        )

    def infer(self, name: str, array: np.ndarray, datatype: str = "FP32", **headers: str) -> httpx.Response:
        tensor = {"name": "input", "shape": array.shape, "datatype": datatype, "data": array.ravel().tolist()}
        return self.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}, headers=headers)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from ray import serve as ray_serve
    from sklearn.ensemble import RandomForestClassifier

    from serve.grpc_door import GrpcDoor

    uri = mlflow_store(tmp_path_factory.mktemp("mlflow"))
    mlps = {1: mlp(1), 2: mlp(2)}
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(IMAGES, [0, 1, 2, 1, 0])
    log_models(mlps, forest, IMAGES)
    with serving_cluster() as url:
        client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
        serving = RayServing()
        grpc_port = free_port()
        ray_serve.run(GrpcDoor.bind("127.0.0.1", grpc_port), name="grpc", route_prefix=None)
        world = World(serving, client, f"127.0.0.1:{grpc_port}", uri, mlps, forest)
        # Side by side: each start of a replica takes seconds.
        world.deploy("mlp")
        world.deploy("forest")
        world.deploy("lookup", min_replicas=0, scale_down_delay_seconds=1)
        assert all(settled(serving, name).ready for name in ("mlp", "forest", "lookup"))
        yield world


def test_a_torch_model_says_what_it_is_and_answers_its_own_numbers(world):
    import torch

    assert world.client.get("/v2/models/mlp/ready").json() == {"name": "mlp", "ready": True}
    metadata = world.client.get("/v2/models/mlp").json()
    assert metadata["platform"] == "mlflow_pytorch"
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 64]}]
    answer = world.infer("mlp", IMAGES)
    assert answer.headers["slipway-model-version"] == "1"
    (output,) = answer.json()["outputs"]
    with torch.inference_mode():
        expected = world.mlps[1](torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected, rtol=1e-5, atol=1e-6)


def test_a_graph_of_two_versions_answers_the_mean_of_their_numbers(world):
    import torch

    world.deploy("blend", model="mlp", graph={"ensemble": ["model", {"model": "mlp", "version": 2}]})
    assert settled(world.serving, "blend").ready
    assert world.client.get("/v2/models/blend").json()["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, 64]}
    ]
    (output,) = world.infer("blend", IMAGES).json()["outputs"]
    with torch.inference_mode():
        each = [world.mlps[version](torch.from_numpy(IMAGES)).numpy() for version in (1, 2)]
    np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    world.serving.delete("blend")


def test_a_deployment_of_several_models_answers_each_by_its_own_numbers_over_every_wire(world):
    import torch
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http

    others = [{"model": "mlp", "version": 2}, {"model": "lookup", "version": 1}]
    world.deploy("several", model="forest", multiplexed={"models": others, "max_num_models_per_replica": 1})
    assert settled(world.serving, "several").ready
    with torch.inference_mode():
        numbers = world.mlps[2](torch.from_numpy(IMAGES)).numpy()
    named = {"authorization": f"Bearer {TOKEN}", "serve_multiplexed_model_id": "mlp"}
    for client, tensors in (
        (over_http.InferenceServerClient(world.client.base_url.netloc.decode()), over_http),
        (over_grpc.InferenceServerClient(world.grpc_address), over_grpc),
    ):
        tensor = tensors.InferInput("input", IMAGES.shape, "FP32")
        tensor.set_data_from_numpy(IMAGES)
        output = client.get_model_metadata("several", headers=dict(named))  # which the HTTP client writes into
        assert "output" in str(output)
        answer = client.infer("several", [tensor], headers=dict(named))
        (name,) = [one["name"] if tensors is over_http else one.name for one in _outputs(answer)]
        np.testing.assert_allclose(answer.as_numpy(name), numbers, rtol=1e-4, atol=1e-5)
        client.close()
        # One model fits: asking another puts this one out, and the next round of the loop brings it back.
        put_in = world.infer("several", np.array([1, 2]), "INT64", **{"serve-multiplexed-model-id": "lookup"})
        assert put_in.json()["outputs"][0]["shape"] == [2, 2]
        assert (put_in.headers["slipway-model"], put_in.headers["slipway-model-version"]) == ("lookup", "1")
    own = world.infer("several", IMAGES)
    assert own.json()["outputs"][0]["data"] == world.forest.predict(IMAGES).tolist()
    assert world.infer("several", IMAGES, serve_multiplexed_model_id="nobody").status_code == 404
    world.serving.delete("several")


def _outputs(answer: Any) -> Any:
    response = answer.get_response()
    return response["outputs"] if isinstance(response, dict) else response.outputs


def test_a_scikit_learn_model_answers_its_own_numbers(world):
    assert world.client.get("/v2/models/forest").json()["platform"] == "mlflow_sklearn"
    (output,) = world.infer("forest", IMAGES).json()["outputs"]
    assert output["datatype"] == "INT64"
    assert output["data"] == world.forest.predict(IMAGES).tolist()


@pytest.mark.parametrize(
    ("array", "datatype", "message"),
    [
        (IMAGES[:, :9], "FP32", "input 'input': expected shape [-1, 64] (-1: any size); got [5, 9]"),
        (IMAGES[:0], "FP32", "input 'input': shape [0, 64] holds nothing; send at least one row"),
        (IMAGES, "FP64", "input 'input': expected datatype FP32; got FP64"),
        (IMAGES, "INT64", "input 'input': INT64 takes integers; got"),
    ],
)
def test_a_bad_input_is_named(world, array, datatype, message):
    answer = world.infer("mlp", array, datatype)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)


def test_a_body_that_is_no_json_is_refused(world):
    answer = world.client.post("/v2/models/mlp/infer", content=b"\xff\x00")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the body must be JSON")


def test_a_caller_without_a_known_token_is_refused(world):
    assert world.infer("mlp", IMAGES, authorization="Bearer guess").status_code == 401
    assert world.client.get("/v2/models/mlp/ready", headers={"authorization": ""}).status_code == 200


def expected(world, images=IMAGES):
    import torch

    with torch.inference_mode():
        return world.mlps[1](torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("is_binary", [True, False])
def test_tritonclient_over_http_works_unchanged(world, is_binary):
    import tritonclient.http as triton

    client = triton.InferenceServerClient(world.client.base_url.netloc.decode())
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert client.is_model_ready("mlp", headers=headers)
    assert client.get_model_metadata("mlp", headers=headers)["inputs"][0]["datatype"] == "FP32"
    images = triton.InferInput("input", IMAGES.shape, "FP32")
    images.set_data_from_numpy(IMAGES, binary_data=is_binary)
    wanted = triton.InferRequestedOutput("output", binary_data=is_binary)
    answer = client.infer("mlp", [images], outputs=[wanted], model_version="1", request_id="42", headers=headers)
    assert answer.get_response()["id"] == "42"
    np.testing.assert_allclose(answer.as_numpy("output"), expected(world), rtol=1e-5, atol=1e-6)
    with pytest.raises(triton.InferenceServerException, match="mlp serves version 1; got version 7"):
        client.infer("mlp", [images], model_version="7", headers=headers)


def test_tritonclient_over_grpc_works_unchanged(world):
    import tritonclient.grpc as triton

    headers = {"authorization": f"Bearer {TOKEN}"}
    with triton.InferenceServerClient(world.grpc_address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_server_metadata().extensions == ["binary_tensor_data"]
        assert client.is_model_ready("mlp")
        assert not client.is_model_ready("nobody")
        assert client.get_model_metadata("mlp", headers=headers).platform == "mlflow_pytorch"
        images = triton.InferInput("input", IMAGES.shape, "FP32")
        images.set_data_from_numpy(IMAGES)
        answer = client.infer("mlp", [images], request_id="42", headers=headers)
        assert answer.get_response().id == "42"
        np.testing.assert_allclose(answer.as_numpy("output"), expected(world), rtol=1e-5, atol=1e-6)
        for arguments, code in [
            ({"headers": {}}, "UNAUTHENTICATED"),
            ({"headers": headers, "model_version": "7"}, "NOT_FOUND"),
            ({"headers": headers, "model_name": "nobody"}, "NOT_FOUND"),
        ]:
            with pytest.raises(triton.InferenceServerException) as refused:
                client.infer(**{"model_name": "mlp", "inputs": [images], **arguments})
            assert code in refused.value.status()
        wide = triton.InferInput("input", [1, 9], "FP32")
        wide.set_data_from_numpy(IMAGES[:1, :9])
        with pytest.raises(triton.InferenceServerException, match=r"expected shape \[-1, 64\]"):
            client.infer("mlp", [wide], headers=headers)


def test_a_body_of_100_mb_is_refused_and_the_replica_lives(world):
    answer = world.client.post("/v2/models/mlp/infer", content=bytes(100 * 2**20))
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("the body has 104857600 bytes; at most 67108864 are taken")
    assert world.infer("mlp", IMAGES).status_code == 200


def test_a_client_that_goes_away_costs_nobody_anything(world):
    address = (world.client.base_url.host, world.client.base_url.port)
    for _ in range(5):
        with socket.create_connection(address) as gone:
            gone.sendall(b"POST /v2/models/mlp/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
    assert world.infer("mlp", IMAGES).status_code == 200


def test_promotion_drops_no_request_and_a_version_that_does_not_load_changes_nothing(world):
    answers: Counter[tuple[int, str]] = Counter()
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            answer = world.infer("mlp", IMAGES[:1])
            answers[answer.status_code, answer.headers.get("slipway-model-version", answer.text)] += 1
            time.sleep(0.02)  # constant load, and room on a small machine for the replicas that start

    callers = [threading.Thread(target=load) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        world.deploy("mlp", version=2)
        assert settled(world.serving, "mlp").ready
        world.deploy("mlp", version=3)
        broken = settled(world.serving, "mlp")
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    assert broken.failed
    assert broken.message.startswith("mlp version 3 does not load: ")
    assert set(answers) == {(200, "1"), (200, "2")}
    assert answers.total() > 100
    assert world.infer("mlp", IMAGES).headers["slipway-model-version"] == "2"


def test_new_tokens_reach_replicas_without_a_restart(world):
    from ray import serve as ray_serve

    def replicas() -> dict[str, int]:
        return ray_serve.status().applications["model-forest"].deployments["model"].replica_states

    served = ServedModel(
        deployment="forest",
        spec=DeploymentSpec(model="forest", cpus_per_replica=0.5),
        version=1,
        tracking_uri=world.tracking_uri,
        token_digests=(hashlib.sha256(b"another").hexdigest(),),
    )
    started = time.monotonic()
    world.serving.apply(served)
    eventually(lambda: world.infer("forest", IMAGES, authorization="Bearer another").status_code == 200)
    assert world.infer("forest", IMAGES).status_code == 401
    assert replicas() == {"RUNNING": 1}
    assert time.monotonic() - started < 5, "a restart takes longer"


def test_a_deployment_that_nobody_asks_goes_to_zero_and_a_request_wakes_it(world):
    from ray import serve as ray_serve

    def replicas() -> dict[str, int]:
        return ray_serve.status().applications["model-lookup"].deployments["model"].replica_states

    eventually(lambda: replicas() == {})
    eventually(lambda: world.serving.observe()["lookup"].ready)
    assert world.infer("lookup", np.array([3]), "INT64").status_code == 200


def test_a_model_that_raises_keeps_its_replica(world):
    answer = world.infer("lookup", np.array([99]), "INT64")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("the model failed: IndexError")
    assert world.infer("lookup", np.array([3]), "INT64").status_code == 200
