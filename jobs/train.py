"""Train: distributed data parallel over Ray Train workers, resumed from the last checkpoint under the same job id.

A run is a row of generations: all workers start together, and end together when the run is done, a node is to be taken
away, a worker is lost, or another number of workers can be had.

python -m jobs.train --spec jobs/examples/ddp.yaml                                     # this machine alone
ray job submit --working-dir . -- python -m jobs.train --spec jobs/examples/ddp.yaml   # any Ray cluster
"""

import os
import secrets
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ray.train import (
    Checkpoint,
    CheckpointConfig,
    ControllerError,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
    WorkerGroupError,
)
from ray.train.torch import TorchTrainer

from jobs import elastic
from jobs.attempt import Attempt
from jobs.checkpoints import Checkpoints
from jobs.driver import drive
from jobs.failure import MAX_LOSSES_WITHOUT_PROGRESS, JobFailed, UserCodeFailed
from jobs.follower import Follower
from jobs.placement import bundle, labels
from jobs.process_group import HardwareTorchConfig
from jobs.pulse import Every
from jobs.report import ReportFile
from jobs.tracking import sent_metrics
from jobs.worker import require_success, train_worker
from platform_app.specs import FailureCause, TrainSpec, grant_path


class ProgressReport(UserCallback):
    """Tells the platform how far a plain Ray Train loop is; Ray calls it on the head whenever all workers reported."""

    def __init__(self, attempt: Attempt) -> None:
        self._report = ReportFile(attempt.report_path)
        self._epochs = attempt.spec.epochs
        self._reports = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:  # noqa: ARG002
        """Take what the workers reported, by rank."""
        self._reports += 1
        numbers = {name: float(value) for name, value in metrics[0].items() if isinstance(value, int | float)}
        # A plain loop counts as it likes: a report is taken for an epoch.
        done = int(numbers.pop("step", self._reports))
        total = int(numbers.pop("total_steps", max(self._epochs, self._reports)))
        self._report.progress(done, total, "steps", numbers)


def train(attempt: Attempt) -> int | None:
    """Run a training job to its end and give the model version that it made, if any.

    Raises:
        JobFailed: with the cause, as far as it can be told.
    """
    spec = attempt.spec
    assert isinstance(spec, TrainSpec)
    grant = Path(grant_path(attempt.storage, attempt.job_id))

    if not spec.train_loop:
        # Our loop tells what it has to tell, and hears of notices, in ways of its own: what Ray asks a worker in
        # vain takes time from its steps.
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
        os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.5"
    if spec.resources.is_elastic:
        # There was room for its workers a moment ago; when another has it, the run looks for room again.
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "60"
    reserve = elastic.Reserve(lambda: elastic.PlacedRoom(spec.resources))

    def wanted(now: int) -> int:
        if elastic.is_to_leave(grant, attempt.number):
            return 0
        target = elastic.most(spec.resources, grant) if spec.resources.is_elastic else now
        return min(target, now) + reserve.growth(max(target - now, 0))

    budget = _Budget(spec.max_failures, Checkpoints(attempt.run_dir / "checkpoints", spec.objective, 1))
    follower = Follower(attempt, wanted)
    at_most = spec.resources.max_workers
    with sent_metrics(attempt), Every(follower.look, name="follower"):
        while True:
            generation = secrets.token_hex(4)
            may_have = partial(elastic.most, spec.resources, grant, at_most)
            workers = reserve.start(spec.resources.min_workers, may_have) if spec.resources.is_elastic else at_most
            follower.begin(generation)
            try:
                outcome = _run(attempt, spec, generation, workers)
            except TrainingFailedError as error:
                failure = explain(error)
                is_users = failure.cause is FailureCause.USER_CODE_FAILED
                follower.end("user-error" if is_users else "worker-lost")
                budget.charge(failure)
                print(f"{attempt.job_id} goes on after a failure: {failure}", flush=True)  # noqa: T201
                at_most = spec.resources.max_workers
                continue
            asked = follower.end()
            require_success(outcome)
            if not outcome.get("left"):
                return outcome.get("model_version")
            if asked == 0:
                print(f"{attempt.job_id} makes room for another job", flush=True)  # noqa: T201
                sys.exit(128 + signal.SIGTERM)
            # Who gives up workers to have more does not take those that others gave up for the same reason.
            at_most = asked or spec.resources.max_workers


class _Budget:
    """How often a run may fail: the user's errors are counted, lost workers only while they hold up everything."""

    def __init__(self, max_failures: int, checkpoints: Checkpoints) -> None:
        self._max_failures = max_failures
        self._checkpoints = checkpoints
        self._failures = 0
        self._losses = 0
        self._step = self._last_step()

    def charge(self, failure: JobFailed) -> None:
        """Charge a failure.

        Raises:
            JobFailed: it was one too many.
        """
        if failure.cause is FailureCause.USER_CODE_FAILED:
            self._failures += 1
            if self._failures > self._max_failures:
                raise failure
            return
        step = self._last_step()
        self._losses = 1 if step > self._step else self._losses + 1
        self._step = step
        if self._losses > MAX_LOSSES_WITHOUT_PROGRESS:
            message = f"workers were lost {self._losses} times without a checkpoint in between; the last: {failure}"
            raise JobFailed(failure.cause, message)

    def _last_step(self) -> int:
        return max((one.manifest.step for one in self._checkpoints.all()), default=0)


def _run(attempt: Attempt, spec: TrainSpec, generation: str, workers: int) -> Mapping[str, Any]:
    """Run a generation of workers and give what the first of them has to say.

    Raises:
        TrainingFailedError: a worker raised or was lost.
    """
    plain_loop = {
        "callbacks": [ProgressReport(attempt)],
        "checkpoint_config": CheckpointConfig(num_to_keep=spec.checkpointing.num_to_keep),
    }
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"attempt": attempt.model_dump_json(), "generation": generation},
        torch_config=HardwareTorchConfig(),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=spec.resources.gpus_per_worker > 0,
            resources_per_worker=bundle(spec.resources),
            label_selector=labels(spec.resources) or None,
        ),
        run_config=RunConfig(
            name=attempt.job_id,  # by the same name a plain loop goes on from its last checkpoint
            storage_path=attempt.storage,
            # Ray would try to place as many workers for ever; where an elastic run's room has gone, fewer will do.
            failure_config=FailureConfig(
                max_failures=0, controller_failure_limit=0 if spec.resources.is_elastic else -1
            ),
            logging_config=LoggingConfig(log_level="WARNING"),  # otherwise several lines for every report
            **(plain_loop if spec.train_loop else {}),
        ),
    )
    return trainer.fit().return_value or {}


def explain(error: TrainingFailedError) -> JobFailed:
    """Tell a user's exception from a lost worker.

    When a worker is lost, the others raise too, because they can no longer reach it: theirs is not the reason.
    """
    if isinstance(error, ControllerError):
        return JobFailed(FailureCause.WORKERS_LOST, f"workers could not be run: {error.controller_failure}")
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    lost = {rank: failure for rank, failure in failures.items() if not isinstance(failure, UserCodeFailed)}
    if lost or not failures:
        reason = str(next(iter(lost.values()), error)).splitlines()[0]
        ranks = ", ".join(map(str, sorted(lost)))
        return JobFailed(FailureCause.WORKERS_LOST, f"lost worker {ranks}: {reason}")
    rank = min(failures)
    return JobFailed(FailureCause.USER_CODE_FAILED, f"worker {rank}: {failures[rank]}")


if __name__ == "__main__":
    drive(TrainSpec, train, description="Train a workload by distributed data parallel.")
