"""A candidate beside its champion on a real Ray Serve: its share, its counts, its death, and its examination."""

import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from platform_app.adapters.ray_serve import RayServing
from platform_app.specs import (
    Candidate,
    DeploymentSpec,
    Evaluation,
    Guards,
    RolloutSpec,
    ServedModel,
    Split,
    Strategy,
)
from tests.serving_on_ray import add_torch_version, eventually, mlflow_store, serving_cluster, settled

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

TOKEN = "secret-of-a-team"
IMAGES = np.random.default_rng(0).random((1, 64), dtype="float32")
GUARDS = Guards(evaluation=Evaluation(dataset="digits-test"))


def module(width: int = 10, delay: float = 0.0, dies: bool = False) -> Any:
    import torch

    class Versioned(torch.nn.Linear):
        def forward(self, inputs):
            import os
            import time as clock

            clock.sleep(delay)
            if dies and float(inputs.sum()) > 0 and len(inputs) == 1:
                os._exit(1)
            return super().forward(inputs)

    torch.manual_seed(1)
    return Versioned(64, width)


@dataclass
class World:
    serving: RayServing
    client: httpx.Client
    tracking_uri: str

    def apply(self, candidate: int | None = None, weight: float | None = None) -> ServedModel:
        tried = Candidate(version=candidate, revision=candidate) if candidate else None
        share = {"strategy": Strategy.CANARY, "step": 0, "key_header": "slipway-key"}
        model = ServedModel(
            deployment="tried",
            spec=DeploymentSpec(model="tried", cpus_per_replica=0.5, rollout=RolloutSpec(guards=GUARDS)),
            version=1,
            tracking_uri=self.tracking_uri,
            token_digests=(hashlib.sha256(TOKEN.encode()).hexdigest(),),
            candidate=tried,
            split=None if weight is None else Split(candidate=tried, weight=weight, **share),
        )
        self.serving.apply(model)
        return model

    def ask(self, times: int, **headers: str) -> Counter[tuple[int, str]]:
        tensor = {"name": "input", "shape": IMAGES.shape, "datatype": "FP32", "data": IMAGES.ravel().tolist()}
        answers: Counter[tuple[int, str]] = Counter()
        for _ in range(times):
            answer = self.client.post("/v2/models/tried/infer", json={"inputs": [tensor]}, headers=headers)
            answers[answer.status_code, answer.headers.get("slipway-revision", answer.text)] += 1
        return answers


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from mlflow.types import TensorSpec

    uri = mlflow_store(tmp_path_factory.mktemp("mlflow"))
    images = TensorSpec(np.dtype("float32"), (-1, 64))
    for tried in (module(), module(), module(width=9), module(dies=True)):
        logits = TensorSpec(np.dtype("float32"), (-1, tried.out_features))
        add_torch_version("tried", tried, images, logits)
    with serving_cluster() as url:
        client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
        world = World(RayServing(), client, uri)
        world.apply()
        assert settled(world.serving, "tried").ready
        yield world


def ready_candidate(world: World, version: int) -> None:
    world.apply(version)
    eventually(lambda: world.serving.observe()["tried"].candidate_ready)


def test_a_canary_gets_its_share_is_counted_and_goes_without_a_failed_request(world):
    ready_candidate(world, 2)
    assert world.ask(20) == {(200, "1"): 20}, "it has no share yet"
    model = world.apply(2, weight=50)
    eventually(lambda: (200, "2") in world.ask(5))
    answers = world.ask(100)
    assert set(answers) == {(200, "1"), (200, "2")}
    assert 25 < answers[200, "2"] < 75
    counts = eventually(lambda: [one for one in world.serving.counts(model) if one.candidate.requests > 20])[0]
    assert counts.candidate.errors == counts.champion.errors == 0
    assert 0 < counts.candidate.seconds < 60
    started = time.monotonic()
    world.apply(2)
    eventually(lambda: set(world.ask(10)) == {(200, "1")})
    assert time.monotonic() - started < 30
    world.apply()
    eventually(lambda: world.serving.observe()["tried"].ready)
    assert world.ask(10) == {(200, "1"): 10}


def test_what_dies_of_a_request_costs_no_answer_and_is_counted(world):
    ready_candidate(world, 4)
    model = world.apply(4, weight=100)
    eventually(lambda: any(one.candidate.errors for one in world.serving.counts(model)) or not world.ask(1))
    assert set(world.ask(5)) == {(200, "1")}
    assert world.serving.observe()["tried"].failed is False
    world.apply()
    assert world.ask(5) == {(200, "1"): 5}


def test_a_candidate_of_another_signature_does_not_start_and_says_why(world):
    world.apply(3)
    failed = eventually(lambda: (seen := world.serving.observe()["tried"]).candidate_failed and seen)
    assert "version 3 gives output FP32 [-1, 9], which does not fit the output FP32 [-1, 10] of version 1" in (
        failed.candidate_message
    )
    assert (failed.ready, failed.failed) == (True, False)
    assert world.ask(5) == {(200, "1"): 5}
    world.apply()


def test_candidate_and_champion_are_examined_on_a_worker(world):
    model = world.apply(2)
    scores = eventually(lambda: world.serving.examine(model))
    assert scores.candidate == scores.champion
    assert 0 < scores.champion < 0.5
    world.apply()
