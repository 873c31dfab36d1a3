"""Trials on their way to MLflow: told once, and only when they are on storage."""

from types import SimpleNamespace

import pytest

from jobs.attempt import Attempt
from jobs.trials import TrialRuns
from platform_app.specs import SweepSpec

SPACE = {"lr": {"type": "uniform", "low": 0, "high": 1}}


class FakeOutbox:
    """Takes what is handed in, and brings it to MLflow when asked."""

    def __init__(self, mlflow):
        self.mlflow = mlflow
        self.waiting = []

    def call(self, operation):
        self.waiting.append(operation)

    def log(self, run, metrics, step):
        self.waiting.append(lambda client: [client.log_metric(run.id, k, v, step=step) for k, v in metrics.items()])

    def deliver(self, number=None):
        sent, self.waiting = self.waiting[:number], self.waiting[len(self.waiting[:number]) :]
        for operation in sent:
            operation(self.mlflow)


class FakeMlflow:
    """Runs, by the id of the trial that they belong to."""

    def __init__(self):
        self.created = []
        self.points = []
        self.status = {}
        self.params = {}
        self.tags = {}

    def get_run(self, run_id):
        params = self.params.get(run_id, {})
        return SimpleNamespace(info=SimpleNamespace(experiment_id="0"), data=SimpleNamespace(params=params))

    def search_runs(self, experiments, ours, max_results):
        return [SimpleNamespace(info=SimpleNamespace(run_id=each)) for each in self.created if f"'{each}'" in ours]

    def create_run(self, experiment_id, tags, run_name):
        self.created.append(tags["slipway.trial_id"])
        return SimpleNamespace(info=SimpleNamespace(run_id=self.created[-1]))

    def log_batch(self, run_id, params, tags):
        self.params.setdefault(run_id, {}).update({param.key: param.value for param in params})
        self.tags.setdefault(run_id, {}).update({tag.key: tag.value for tag in tags})

    def log_metric(self, run_id, name, value, step):
        self.points.append((run_id, name, value, step))

    def get_metric_history(self, run_id, name):
        return [SimpleNamespace(step=p[3]) for p in self.points if p[:2] == (run_id, name)]

    def update_run(self, run_id, status):
        self.status[run_id] = status

    def set_terminated(self, run_id, status):
        self.status[run_id] = status

    def set_tag(self, run_id, name, value):
        self.tags.setdefault(run_id, {})[name] = value


@pytest.fixture
def mlflow():
    return FakeMlflow()


@pytest.fixture
def begin(tmp_path, mlflow):
    """Begin an attempt; gives its runs and the way to MLflow."""

    def begin(number=1):
        fields = {"kind": "sweep", "name": "s", "workload": "a:b", "space": SPACE, "epochs": 2}
        spec = SweepSpec.model_validate(fields)
        attempt = Attempt(spec=spec, job_id="s-1", number=number, storage=str(tmp_path), tracking_uri="", run_id="p")
        outbox = FakeOutbox(mlflow)
        return TrialRuns(attempt, outbox), outbox

    return begin


def trial(trial_id="t1", epoch=2, **config):
    return SimpleNamespace(trial_id=trial_id, config={"lr": 0.5} | config, last_result={"epoch": epoch, "loss": 1.0})


def run(runs, one):
    runs.on_trial_start(trial=one)
    for step in range(1, one.last_result["epoch"] + 1):
        runs.on_trial_result(trial=one, result={"loss": 1.0 / step, "step": step})
    runs.on_trial_complete(trial=one)


def test_nobody_is_told_of_what_is_not_on_storage(begin, mlflow, capsys):
    runs, outbox = begin()
    run(runs, trial())
    assert (outbox.waiting, capsys.readouterr().out) == ([], "")
    runs.tell()
    outbox.deliver()
    assert [point[3] for point in mlflow.points] == [1, 2]
    assert mlflow.status == {"t1": "FINISHED"}
    assert capsys.readouterr().out == "trial 1/8 finished: loss 1.0000 after 2 epochs (lr=0.5)\n"


@pytest.mark.parametrize("delivered", range(12))
def test_wherever_the_driver_is_killed_the_next_attempt_completes_the_run_and_repeats_nothing(
    begin, mlflow, delivered, capsys
):
    runs, outbox = begin()
    run(runs, trial())
    runs.tell()
    outbox.deliver(delivered)
    state = runs.get_state()
    again, outbox = begin(2)
    again.set_state(state)
    again.setup()
    outbox.deliver()
    assert mlflow.created == ["t1"]
    assert sorted(mlflow.points) == [("t1", "loss", 0.5, 2), ("t1", "loss", 1.0, 1)]
    assert mlflow.status == {"t1": "FINISHED"}
    assert again.get_state()["unsent"] == []
    assert capsys.readouterr().out.count("trial 1/8") == 1


def test_what_has_reached_mlflow_is_not_in_the_state(begin):
    runs, outbox = begin()
    run(runs, trial())
    assert len(runs.get_state()["unsent"]) == 4
    runs.tell()
    assert len(runs.get_state()["unsent"]) == 4
    outbox.deliver()
    assert runs.get_state()["unsent"] == []


def test_a_trial_that_ends_before_its_last_epoch_was_stopped_early(begin, mlflow):
    runs, outbox = begin()
    run(runs, trial(epoch=1))
    runs.tell()
    outbox.deliver()
    assert mlflow.tags["t1"] == {"slipway.early_stopped": "true"}


def test_hyperparameters_that_a_population_changes_are_tags_beside_the_params(begin, mlflow):
    runs, outbox = begin()
    runs.on_trial_start(trial=trial())
    runs.on_trial_start(trial=trial(lr=0.6))
    runs.tell()
    outbox.deliver()
    assert mlflow.params["t1"] == {"lr": "0.5"}
    assert mlflow.tags["t1"] == {"slipway.mutated.lr": "0.6"}
