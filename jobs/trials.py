"""A sweep's trials as they come and go: MLflow child runs, lines for people, and the platform's progress."""

import math
from collections.abc import Mapping
from typing import Any

from ray import tune

from jobs.attempt import Attempt
from jobs.metrics import objective_sign, own_metrics
from jobs.outbox import Outbox, Run
from jobs.report import ReportFile
from jobs.tracking import connect, is_away
from platform_app.specs import SweepSpec

_live: "list[TrialRuns]" = []


def _live_one() -> "TrialRuns":
    return _live[-1]


class TrialRuns(tune.Callback):
    """Gives each trial a child run of the sweep's run. Tune calls it on the driver, which never waits for MLflow."""

    def __init__(self, attempt: Attempt) -> None:
        assert isinstance(attempt.spec, SweepSpec)
        self._attempt = attempt
        self._spec = attempt.spec
        self._report = ReportFile(attempt.report_path)
        self._outbox = Outbox(lambda: connect(attempt.tracking_uri), is_away)
        self._runs: dict[str, Run] = {}
        self._best: Mapping[str, float] = {}
        _live[:] = [self]

    def __reduce__(self) -> Any:
        # Tune keeps callbacks with the state of the sweep; one that is restored gets those of the attempt that goes on.
        return (_live_one, ())

    def setup(self, **_: Any) -> None:
        """Begin; Tune calls this when it starts, anew or restored."""
        self._report.progress(0, self._spec.num_trials, "trials", {})

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """Create the trial's run, or continue it where the trial goes on."""
        run = self._runs.setdefault(trial.trial_id, Run())
        self._outbox.call(lambda client: _start_child(client, run, self._attempt, trial.trial_id, trial.config))

    def on_trial_result(self, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Log what the trial reported after an epoch."""
        metrics = own_metrics(result)
        if metrics and "step" in result:
            self._outbox.log(self._runs[trial.trial_id], metrics, int(result["step"]))
            self._keep_best(metrics)

    def on_trial_complete(self, trials: list[Any], trial: Any, **_: Any) -> None:
        """End the run of a trial that came to its end, or that the scheduler stopped before."""
        self._end(trials, trial, "FINISHED")

    def on_trial_error(self, trials: list[Any], trial: Any, **_: Any) -> None:
        """End the run of a trial that failed for good."""
        self._end(trials, trial, "FAILED")

    def finished(self, result: Mapping[str, Any]) -> None:
        """Tell the platform that all trials are done, and what the best of them reported."""
        self._report.progress(self._spec.num_trials, self._spec.num_trials, "trials", own_metrics(result))

    def close(self) -> None:
        """Send what is waiting."""
        self._outbox.close()

    def _end(self, trials: list[Any], trial: Any, status: str) -> None:
        run, result = self._runs.setdefault(trial.trial_id, Run()), trial.last_result or {}
        epochs = int(result.get("epoch", 0))
        early = status == "FINISHED" and epochs < self._spec.epochs
        self._outbox.call(lambda client: _end_child(client, run, status, early))
        # Trials that an earlier attempt brought to their end are among them.
        ended = len({other.trial_id for other in trials if other.is_finished()} | {trial.trial_id})
        value = result.get(self._spec.objective.metric, math.nan)
        how = "stopped early" if early else "finished" if status == "FINISHED" else "failed"
        point = " ".join(f"{name}={_short(value)}" for name, value in trial.config.items())
        told = f"{self._spec.objective.metric} {value:.4f} after {epochs} epochs"
        print(f"trial {ended}/{self._spec.num_trials} {how}: {told} ({point})", flush=True)  # noqa: T201
        self._report.progress(ended, self._spec.num_trials, "trials", self._best)

    def _keep_best(self, metrics: Mapping[str, float]) -> None:
        name, sign = self._spec.objective.metric, objective_sign(self._spec.objective)
        if not self._best or sign * metrics[name] > sign * self._best[name]:
            self._best = metrics


def _start_child(client: Any, run: Run, attempt: Attempt, trial_id: str, config: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    if not run.id:
        experiment_id = client.get_run(attempt.run_id).info.experiment_id
        # Trial ids are unique within a sweep, and stay what they are when it is restored.
        ours = f"tags.`mlflow.parentRunId` = '{attempt.run_id}' and tags.`slipway.trial_id` = '{trial_id}'"
        found = client.search_runs([experiment_id], ours, max_results=1)
        tags = {"mlflow.parentRunId": attempt.run_id, "slipway.trial_id": trial_id}
        name = f"{attempt.job_id}-{trial_id.rpartition('_')[2]}"
        run.id = (found[0] if found else client.create_run(experiment_id, tags=tags, run_name=name)).info.run_id
    client.log_batch(run.id, params=[Param(name, str(value)) for name, value in config.items()])
    client.update_run(run.id, status="RUNNING")


def _end_child(client: Any, run: Run, status: str, early: bool) -> None:
    if early:
        client.set_tag(run.id, "slipway.early_stopped", "true")
    client.set_terminated(run.id, status)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
