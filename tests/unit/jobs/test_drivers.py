"""What drivers decide: what they ask of Ray, what is best, what a failure was."""

from pathlib import Path
from types import ModuleType

import pytest
from ray.train import ControllerError, WorkerGroupError
from ray.tune.search.optuna import OptunaSearch

from jobs.failure import UserCodeFailed
from jobs.metrics import best, own_metrics
from jobs.placement import bundle, labels
from jobs.publish import code_paths
from jobs.sweep import param_space
from jobs.train import explain
from platform_app.specs import FailureCause, Objective, SweepSpec, WorkerResources


def module(name, file):
    made = ModuleType(name)
    made.__file__ = file
    return made


def test_what_needs_no_gpu_keeps_off_workers_that_have_some():
    assert labels(WorkerResources(gpus_per_worker=0)) == {"slipway.io/gpus": "!true"}


def test_only_what_the_spec_pins_becomes_a_label():
    assert labels(WorkerResources()) == {}
    assert labels(WorkerResources(market="spot")) == {"ray.io/market-type": "spot"}
    assert labels(WorkerResources(accelerator_type="A100")) == {"ray.io/accelerator-type": "A100"}


def test_a_worker_without_gpus_asks_for_none():
    assert bundle(WorkerResources(gpus_per_worker=0, cpus_per_worker=2)) == {"CPU": 2}
    assert bundle(WorkerResources(gpus_per_worker=0.5)) == {"CPU": 1, "GPU": 0.5}


@pytest.mark.parametrize(("mode", "name"), [("max", "b"), ("min", "a")])
def test_the_best_is_by_the_objective(mode, name):
    reported = [("a", {"score": 1.0}), ("b", {"score": 2.0}), ("c", {"score": 2.0})]
    assert best(reported, Objective(metric="score", mode=mode))[0] == name


def test_of_nothing_nothing_is_best():
    assert best([], Objective(metric="score", mode="max")) is None


def test_a_trials_own_metrics_are_what_the_workload_reported():
    result = {"accuracy": 0.5, "epoch": 3, "step": 9, "done": True, "time_total_s": 1.0, "config": {}, "trial_id": "x"}
    assert own_metrics(result) == {"accuracy": 0.5, "epoch": 3.0}


def test_every_dimension_of_a_search_space_is_known_to_tune_and_optuna():
    space = SweepSpec.model_validate(
        {
            "kind": "sweep",
            "name": "s",
            "workload": "a:b",
            "space": {
                "lr": {"type": "loguniform", "low": 0.001, "high": 0.1},
                "dropout": {"type": "uniform", "low": 0, "high": 0.5},
                "layers": {"type": "int", "low": 1, "high": 3},
                "act": {"type": "choice", "values": ["relu", "gelu"]},
            },
        }
    ).space
    search = OptunaSearch(param_space(space), metric="loss", mode="min", seed=0)
    points = [search.suggest(str(i)) for i in range(40)]
    assert {point["layers"] for point in points} == {1, 2, 3}
    assert all(0.001 <= point["lr"] <= 0.1 for point in points)


def test_a_grid_is_walked_by_tune():
    space = {"kind": "sweep", "name": "s", "workload": "a:b", "search": {"algorithm": "random"}}
    spec = SweepSpec.model_validate(space | {"space": {"lr": {"type": "grid", "values": [1, 2]}}})
    assert param_space(spec.space) == {"lr": {"grid_search": [1, 2]}}


def test_only_the_users_own_code_travels_with_a_model():
    modules = [
        module("my_model", "/wd/my_model.py"),
        module("pkg", "/wd/pkg/__init__.py"),
        module("pkg.deep.nets", "/wd/pkg/deep/nets.py"),
        module("jobs.loop", "/wd/jobs/loop.py"),
        module("torch", "/wd/.venv/lib/python3.11/site-packages/torch/__init__.py"),
        module("json", "/usr/lib/python3.11/json/__init__.py"),
        module("builtin", None),
        module("nets", "/wd/pkg/nets.py"),
    ]
    assert code_paths(modules, Path("/wd")) == ["/wd/my_model.py", "/wd/pkg"]


def test_a_users_exception_is_told_from_a_lost_worker():
    user, lost = UserCodeFailed("ValueError: too big (m.py:2 in make)"), RuntimeError("the actor died\nand more")
    failed = explain(WorkerGroupError("", {0: user, 1: user}))
    assert failed.cause is FailureCause.USER_CODE_FAILED
    assert failed.message == "worker 0: ValueError: too big (m.py:2 in make)"
    # The others raise because they cannot reach the lost one.
    assert explain(WorkerGroupError("", {0: user, 1: lost})).cause is FailureCause.WORKERS_LOST
    assert explain(ControllerError(Exception("no room"))).cause is FailureCause.WORKERS_LOST
