"""What every place where deployments answer does, asked of the fake and of Ray Serve."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from platform_app.ports import ModelServing, ServingObservation
from platform_app.specs import DeploymentSpec, ServedModel
from tests.fakes_serving import FakeServing
from tests.serving_on_ray import (
    add_broken_version,
    add_torch_version,
    eventually,
    mlflow_store,
    serving_cluster,
    settled,
)

BROKEN = 2
"""The version that does not load; 1 and 3 do."""


@dataclass
class Case:
    """A place to serve, how to wait for it, and the store that versions come from."""

    serving: ModelServing
    settled: Callable[[str], ServingObservation]
    tracking_uri: str = "sqlite://"

    def served(self, version: int, deployment: str = "digits") -> ServedModel:
        spec = DeploymentSpec(model="mlp", cpus_per_replica=0.5)
        return ServedModel(
            deployment=deployment, spec=spec, version=version, tracking_uri=self.tracking_uri, token_digests=()
        )


def fake_case() -> Case:
    fake = FakeServing()

    def settle(deployment: str) -> ServingObservation:
        if fake.applied[deployment].version == BROKEN:
            fake.become_failed(deployment, f"mlp version {BROKEN} does not load: it is broken")
        else:
            fake.become_ready(deployment)
        return fake.observe()[deployment]

    return Case(fake, settle)


@pytest.fixture(scope="module")
def ray_case(tmp_path_factory):
    import numpy as np
    import torch
    from mlflow.types import TensorSpec

    from platform_app.adapters.ray_serve import RayServing

    uri = mlflow_store(tmp_path_factory.mktemp("mlflow"))
    numbers = TensorSpec(np.dtype("float32"), (-1, 2))
    add_torch_version("mlp", torch.nn.Linear(2, 2), numbers, numbers)
    add_broken_version("mlp")
    add_torch_version("mlp", torch.nn.Linear(2, 2), numbers, numbers)
    with serving_cluster():
        serving = RayServing()
        yield Case(serving, lambda deployment: settled(serving, deployment), uri)


@pytest.fixture(params=["fake", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(240)])])
def case(request):
    return fake_case() if request.param == "fake" else request.getfixturevalue("ray_case")


def test_what_was_never_applied_is_absent_and_can_be_deleted(case):
    assert "nobody" not in case.serving.observe()
    case.serving.delete("nobody")


def test_a_deployment_lives_through_versions_until_it_is_deleted(case):
    case.serving.apply(case.served(1))
    assert case.serving.observe()["digits"].ready is False
    assert case.settled("digits") == ServingObservation(ready=True, failed=False)

    case.serving.apply(case.served(1))
    assert case.settled("digits").ready, "the same again changes nothing"

    case.serving.apply(case.served(BROKEN))
    assert case.serving.observe()["digits"].ready is False, "the version before it does not count"
    failed = case.settled("digits")
    assert (failed.ready, failed.failed) == (False, True)
    assert failed.message.startswith("mlp version 2 does not load: ")
    assert "\n" not in failed.message

    case.serving.apply(case.served(3))
    assert case.serving.observe()["digits"].failed is False, "the failure before it does not count"
    assert case.settled("digits").ready

    case.serving.delete("digits")
    case.serving.delete("digits")
    eventually(lambda: "digits" not in case.serving.observe())


def test_deployments_do_not_disturb_each_other(case):
    case.serving.apply(case.served(1, "left"))
    case.serving.apply(case.served(3, "right"))
    assert case.settled("left").ready
    assert case.settled("right").ready
    case.serving.delete("left")
    eventually(lambda: "left" not in case.serving.observe())
    assert case.serving.observe()["right"].ready
