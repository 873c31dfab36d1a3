"""What every model registry does, asked of the fake and of a real MLflow on SQLite."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from platform_app.adapters.mlflow_registry import MlflowRegistry
from platform_app.errors import NotFound, TemporaryError
from platform_app.ports import ModelRegistry
from tests.fakes_serving import FakeRegistry


@dataclass
class Case:
    """A registry, and how training fills it."""

    registry: ModelRegistry
    add_version: Callable[..., int]
    add_trial: Callable[..., None]


class MlflowTraining:
    """What jobs do in MLflow: runs with child runs, and model versions."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def add_version(self, name: str, job_id: str | None = None, metrics: Mapping[str, float] | None = None) -> int:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        run = self._client.create_run("0", tags={"mlflow.source.git.commit": "c0ffee"} if job_id else {})
        for key, value in (metrics or {}).items():
            self._client.log_metric(run.info.run_id, key, value)
        tags = {"slipway.job_id": job_id} if job_id else {}
        version = self._client.create_model_version(name, "file:///nowhere", run_id=run.info.run_id, tags=tags)
        return int(version.version)

    def add_trial(self, experiment: str, job_id: str, params: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        own = self._client.search_runs([experiment_id], f"tags.`slipway.job_id` = '{job_id}'", max_results=1)
        parent = own[0] if own else self._client.create_run(experiment_id, tags={"slipway.job_id": job_id})
        trial = self._client.create_run(experiment_id, tags={"mlflow.parentRunId": parent.info.run_id})
        for key, param in params.items():
            self._client.log_param(trial.info.run_id, key, param)
        for key, value in metrics.items():
            self._client.log_metric(trial.info.run_id, key, value)
        self._client.set_terminated(trial.info.run_id)
        time.sleep(0.002)  # MLflow orders runs by milliseconds


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory):
    """One store for all tests: making its tables takes seconds. Each test uses names of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(params=["fake", "mlflow"])
def case(request):
    if request.param == "fake":
        fake = FakeRegistry()
        return Case(fake, fake.add_version, fake.add_trial)
    from mlflow import MlflowClient

    uri = request.getfixturevalue("mlflow_uri")
    training = MlflowTraining(MlflowClient(uri, uri))
    return Case(MlflowRegistry(uri), training.add_version, training.add_trial)


def test_what_is_not_there_is_a_value(case):
    assert case.registry.versions("nobody") is None
    assert case.registry.resolve("nobody", "champion") is None
    assert case.registry.trials("no-experiment", "no-job") == []
    assert case.registry.versions("no'body") is None


def test_models_are_listed_by_name_with_their_newest_version(case):
    case.add_version("list-b")
    case.add_version("list-a")
    case.add_version("list-a")
    case.registry.set_alias("list-a", "champion", 1)
    listed = {model.name: model for model in case.registry.models()}
    assert [name for name in listed if name.startswith("list-")] == ["list-a", "list-b"]
    assert listed["list-a"].latest_version == 2
    assert listed["list-a"].aliases == {"champion": 1}
    assert listed["list-b"].aliases == {}


def test_versions_come_newest_first_with_their_job_and_metrics(case):
    for number in range(1, 12):
        case.add_version("many", job_id=f"train-{number}", metrics={"accuracy": number / 100})
    case.registry.set_alias("many", "champion", 10)
    case.registry.set_alias("many", "best", 10)
    versions = case.registry.versions("many")
    assert [version.version for version in versions] == list(range(11, 0, -1))
    assert versions[0].job_id == "train-11"
    assert versions[0].metrics == {"accuracy": 0.11}
    assert versions[0].aliases == ()
    assert versions[1].aliases == ("best", "champion")
    assert versions[0].run_id != versions[1].run_id
    assert versions[0].created_at >= versions[1].created_at
    assert versions[0].created_at.tzinfo is not None


def test_an_alias_names_the_version_it_was_set_to_last(case):
    case.add_version("moving")
    case.add_version("moving")
    assert case.registry.resolve("moving", "champion") is None
    case.registry.set_alias("moving", "champion", 1)
    case.registry.set_alias("moving", "champion", 2)
    assert case.registry.resolve("moving", "champion") == 2


def test_taking_an_alias_away_twice_is_the_same_as_once(case):
    case.add_version("fallen")
    case.registry.set_alias("fallen", "champion", 1)
    case.registry.set_alias("fallen", "champion", None)
    case.registry.set_alias("fallen", "champion", None)
    case.registry.set_alias("nobody", "champion", None)
    assert case.registry.resolve("fallen", "champion") is None


def test_an_alias_cannot_name_a_version_that_is_not_there(case):
    case.add_version("short")
    with pytest.raises(NotFound, match="model short has no version 7"):
        case.registry.set_alias("short", "champion", 7)
    with pytest.raises(NotFound, match="model nobody has no version 1"):
        case.registry.set_alias("nobody", "champion", 1)


def test_a_sweeps_trials_are_its_own_and_oldest_first(case):
    for number in range(3):
        case.add_trial("search", "sweep-a", {"lr": str(number)}, {"loss": number / 2})
    case.add_trial("search", "sweep-b", {"lr": "9"}, {})
    trials = case.registry.trials("search", "sweep-a")
    assert [trial.params for trial in trials] == [{"lr": "0"}, {"lr": "1"}, {"lr": "2"}]
    assert [trial.metrics for trial in trials] == [{"loss": 0.0}, {"loss": 0.5}, {"loss": 1.0}]
    assert {trial.status for trial in trials} == {"FINISHED"}
    assert all(trial.ended_at >= trial.started_at for trial in trials)
    assert len(case.registry.trials("search", "sweep-b")) == 1


def test_a_server_that_is_away_is_said_to_be_within_seconds(monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "")  # so that what the registry sets is undone
        monkeypatch.delenv(name)
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        registry = MlflowRegistry(f"http://127.0.0.1:{unheard.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(TemporaryError, match="MLflow does not answer"):
            registry.versions("digits")
        assert time.monotonic() - started < 5


def test_a_version_tells_what_made_it(case):
    version = case.add_version("traced", job_id="job-abc")
    origin = case.registry.origin("traced", version)
    assert (origin.model, origin.version, origin.job_id, origin.commit) == ("traced", version, "job-abc", "c0ffee")
    assert origin.run_id == case.registry.versions("traced")[0].run_id
    assert case.registry.origin("traced", version + 1) is None
    assert case.registry.origin("nobody", 1) is None
