"""The run configuration by which a plain Tuner is one of the platform's."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from platform_app.adapters.mlflow_registry import MlflowRegistry
from platform_app.client.tune import run_config
from platform_app.client.tune_callbacks import Ledger, TrialRuns
from platform_app.errors import NotFound
from platform_app.specs import AttemptReport

JOB = {
    "SLIPWAY_STORAGE": "/storage",
    "SLIPWAY_JOB_ID": "mine-abc123",
    "SLIPWAY_ATTEMPT": "2",
    "MLFLOW_TRACKING_URI": "http://mlflow",
    "MLFLOW_EXPERIMENT_NAME": "vision",
}


@dataclass(frozen=True, eq=False)
class Trial:
    """What a callback reads of Tune's own."""

    trial_id: str
    config: dict


def test_a_jobs_tuner_writes_where_the_job_does_and_its_trials_carry_the_jobs_id():
    extra = object()
    config = run_config("search", JOB, callbacks=[extra])
    tracked, ledger, given = config.callbacks
    assert (config.name, config.storage_path) == ("search", "/storage/mine-abc123")
    assert (tracked.tracking_uri, tracked.experiment_name) == ("http://mlflow", "vision")
    assert isinstance(ledger, Ledger)
    assert given is extra


def test_trials_are_children_of_a_run_that_carries_the_jobs_id(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    callback = TrialRuns("mine-abc123", uri, "vision")
    callback.setup()
    callback.log_trial_start(Trial("a", {"lr": 0.1}))
    callback.on_experiment_end(trials=[])
    (trial,) = MlflowRegistry(uri).trials("vision", "mine-abc123")
    assert trial.params == {"lr": "0.1"}


def test_outside_a_job_the_ledger_is_said_to_know_nothing():
    with pytest.warns(UserWarning, match="no job of the platform"):
        config = run_config("search", {"SLIPWAY_STORAGE": "/storage"})
    assert config.storage_path == "/storage"


def test_outside_the_cluster_there_is_no_storage():
    with pytest.raises(NotFound, match="ray job submit"):
        run_config("search", {})


def test_the_ledger_is_told_how_many_trials_are_done(tmp_path):
    path = tmp_path / "mine" / "attempt-1.json"
    callback = Ledger(path)

    def report():
        return AttemptReport.model_validate_json(path.read_bytes()).progress

    callback.setup(total_num_samples=3)
    assert (report().done, report().total, report().unit) == (0, 3, "trials")
    result = {"loss": 0.5, "done": True, "note": "x", "nan": float("nan")}
    callback.on_trial_complete(trial=SimpleNamespace(trial_id="a", last_result=result))
    callback.on_trial_error(trial=SimpleNamespace(trial_id="b", last_result=None))
    callback.on_trial_error(trial=SimpleNamespace(trial_id="b", last_result=None))
    assert report().done == 2
    callback.on_trial_complete(trial=SimpleNamespace(trial_id="c", last_result=result))
    assert report().metrics == {"loss": 0.5}
