"""A sweep's trials as they come and go: MLflow child runs, lines for people, and the platform's progress.

What happens is noted with the state of the sweep, and told when that is on storage; what MLflow has not taken when
the driver is killed is in the state, and the next attempt sends it.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune

from jobs.attempt import Attempt
from jobs.metrics import objective_sign, own_metrics
from jobs.outbox import Outbox, Run
from jobs.report import ReportFile
from jobs.tracking import connect, is_away
from platform_app.specs import SweepSpec


@dataclass(frozen=True)
class Started:
    """A trial starts, goes on, or starts over with other hyperparameters."""

    trial_id: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Reported:
    """A trial reported an epoch's metrics."""

    trial_id: str
    metrics: dict[str, float]
    step: int


@dataclass(frozen=True)
class Ended:
    """A trial came to its end."""

    trial_id: str
    status: str
    """Of its run, in MLflow's words."""
    early: bool
    told: str
    """For people."""


Event = Started | Reported | Ended


class TrialRuns(tune.Callback):
    """Gives each trial a child run of the sweep's run. Tune calls it on the driver, which never waits for MLflow."""

    def __init__(self, attempt: Attempt, outbox: Outbox | None = None) -> None:
        """Begin.

        Args:
            attempt: the sweep's.
            outbox: to MLflow; absent: to the attempt's.
        """
        assert isinstance(attempt.spec, SweepSpec)
        self._attempt = attempt
        self._spec = attempt.spec
        self._report = ReportFile(attempt.report_path)
        self._outbox = outbox or Outbox(lambda: connect(attempt.tracking_uri), is_away)
        self._runs: dict[str, Run] = {}
        self._best: dict[str, float] = {}
        self._ended: set[str] = set()
        self._numbers = itertools.count()
        self._noted: list[Event] = []
        """What is not on storage yet, and so not told."""
        self._on_its_way: dict[int, Event] = {}
        """What is told, and not known to have reached MLflow."""

    def get_state(self) -> dict[str, Any]:
        """Give what the next attempt needs; Tune keeps it with the state of the sweep."""
        # The outbox takes from it in a thread of its own.
        unsent = [event for _, event in sorted(self._on_its_way.copy().items())] + self._noted
        return {"unsent": unsent, "ended": sorted(self._ended), "best": self._best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what an earlier attempt left; Tune calls this when it restores a sweep."""
        self._ended, self._best = set(state["ended"]), state["best"]
        for event in state["unsent"]:
            self._send(event, again=True)

    def setup(self, **_: Any) -> None:
        """Begin; Tune calls this when it starts, anew or restored."""
        self._tell_progress()

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """Note that the trial's run begins, or goes on."""
        self._noted.append(Started(trial.trial_id, dict(trial.config)))

    def on_trial_result(self, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Note what the trial reported after an epoch."""
        metrics = own_metrics(result)
        if metrics and "step" in result:
            self._noted.append(Reported(trial.trial_id, metrics, int(result["step"])))
            self._keep_best(metrics)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """Note that a trial came to its end, or that the scheduler stopped it before."""
        self._end(trial, "FINISHED")

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """Note that a trial failed for good."""
        self._end(trial, "FAILED")

    def tell(self) -> None:
        """Tell what was noted: the state that holds it is on storage."""
        noted, self._noted = self._noted, []
        for event in noted:
            self._send(event)
            if isinstance(event, Ended):
                print(event.told, flush=True)  # noqa: T201
        if noted:
            self._tell_progress()

    def finished(self, result: Mapping[str, Any]) -> None:
        """Tell the platform that all trials are done, and what the best of them reported."""
        self._report_progress(self._spec.num_trials, own_metrics(result))

    def close(self) -> None:
        """Send what is waiting."""
        self._outbox.close()

    def _end(self, trial: Any, status: str) -> None:
        result = trial.last_result or {}
        self._ended.add(trial.trial_id)
        epochs = int(result.get("epoch", 0))
        early = status == "FINISHED" and epochs < self._spec.epochs
        value = result.get(self._spec.objective.metric, math.nan)
        how = "stopped early" if early else "finished" if status == "FINISHED" else "failed"
        point = " ".join(f"{name}={_short(value)}" for name, value in trial.config.items())
        what = f"{self._spec.objective.metric} {value:.4f} after {epochs} epochs ({point})"
        told = f"trial {len(self._ended)}/{self._spec.num_trials} {how}: {what}"
        self._noted.append(Ended(trial.trial_id, status, early, told))

    def _keep_best(self, metrics: dict[str, float]) -> None:
        name, sign = self._spec.objective.metric, objective_sign(self._spec.objective)
        if not self._best or sign * metrics[name] > sign * self._best[name]:
            self._best = metrics

    def _tell_progress(self) -> None:
        self._report_progress(len(self._ended), self._best)

    def _report_progress(self, ended: int, metrics: Mapping[str, float]) -> None:
        # A worker like a trial's publishes the model, when all trials have ended.
        at_once = max(1, min(self._spec.num_trials - ended, self._spec.search.max_concurrent))
        workers = at_once * self._spec.resources.max_workers
        self._report.progress(ended, self._spec.num_trials, "trials", metrics, workers)

    def _send(self, event: Event, again: bool = False) -> None:
        """Hand an event to the outbox; `again` when MLflow may have taken it from an earlier attempt."""
        # What an attempt that was killed had told, but not yet committed, is trained and told once more.
        again = again or self._attempt.number > 1
        run, number = self._runs.setdefault(event.trial_id, Run()), next(self._numbers)
        self._on_its_way[number] = event
        if not run.id:
            # First, so that the run is there for whatever comes; it does nothing once the run is known.
            self._outbox.call(lambda client: _find_or_create(client, run, self._attempt, event.trial_id))
        match event:
            case Started(config=config):
                self._outbox.call(lambda client: _start_child(client, run, config))
            case Reported(metrics=metrics, step=step) if again:
                self._outbox.call(lambda client: _log_what_is_missing(client, run, metrics, step))
            case Reported(metrics=metrics, step=step):
                self._outbox.log(run, metrics, step)
            case Ended(status=status, early=early):
                self._outbox.call(lambda client: _end_child(client, run, status, early))
        self._outbox.call(lambda _: self._on_its_way.pop(number, None))


def _find_or_create(client: Any, run: Run, attempt: Attempt, trial_id: str) -> None:
    if run.id:
        return
    experiment_id = client.get_run(attempt.run_id).info.experiment_id
    # Trial ids are unique within a sweep, and stay what they are when it is restored.
    ours = f"tags.`mlflow.parentRunId` = '{attempt.run_id}' and tags.`slipway.trial_id` = '{trial_id}'"
    found = client.search_runs([experiment_id], ours, max_results=1)
    tags = {"mlflow.parentRunId": attempt.run_id, "slipway.trial_id": trial_id}
    name = f"{attempt.job_id}-{trial_id.rpartition('_')[2]}"
    run.id = (found[0] if found else client.create_run(experiment_id, tags=tags, run_name=name)).info.run_id


def _start_child(client: Any, run: Run, config: Mapping[str, Any]) -> None:
    from mlflow.entities import Param, RunTag

    known = client.get_run(run.id).data.params
    # MLflow's params never change; those of a population's trial do.
    new = [Param(name, str(value)) for name, value in config.items() if name not in known]
    mutated = {name: str(value) for name, value in config.items() if known.get(name, str(value)) != str(value)}
    tags = [RunTag(f"slipway.mutated.{name}", value) for name, value in mutated.items()]
    client.log_batch(run.id, params=new, tags=tags)
    client.update_run(run.id, status="RUNNING")


def _log_what_is_missing(client: Any, run: Run, metrics: Mapping[str, float], step: int) -> None:
    for name, value in metrics.items():
        if step not in {point.step for point in client.get_metric_history(run.id, name)}:
            client.log_metric(run.id, name, value, step=step)


def _end_child(client: Any, run: Run, status: str, early: bool) -> None:
    if early:
        client.set_tag(run.id, "slipway.early_stopped", "true")
    client.set_terminated(run.id, status)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
