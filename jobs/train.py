"""Train: distributed data parallel over Ray Train workers, resumed from the last checkpoint under the same job id.

python -m jobs.train --spec jobs/examples/ddp.yaml                                     # this machine alone
ray job submit --working-dir . -- python -m jobs.train --spec jobs/examples/ddp.yaml   # any Ray cluster
"""

from collections.abc import Mapping
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

from jobs.attempt import Attempt
from jobs.driver import drive
from jobs.failure import JobFailed, UserCodeFailed
from jobs.placement import bundle, labels
from jobs.process_group import HardwareTorchConfig
from jobs.report import ReportFile
from jobs.worker import require_success, train_worker
from platform_app.specs import FailureCause, TrainSpec


class ProgressReport(UserCallback):
    """Tells the platform how far the run is; Ray calls it on the head, whenever all workers have reported."""

    def __init__(self, attempt: Attempt) -> None:
        self._report = ReportFile(attempt.report_path)
        self._epochs = attempt.spec.epochs
        self._reports = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:  # noqa: ARG002
        """Take what the workers reported, by rank."""
        self._reports += 1
        numbers = {name: float(value) for name, value in metrics[0].items() if isinstance(value, int | float)}
        # A plain Ray Train loop counts as it likes: there, a report is taken for an epoch.
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
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"attempt": attempt.model_dump_json()},
        torch_config=HardwareTorchConfig(),
        scaling_config=ScalingConfig(
            num_workers=spec.resources.num_workers,
            use_gpu=spec.resources.gpus_per_worker > 0,
            resources_per_worker=bundle(spec.resources),
            label_selector=labels(spec.resources) or None,
        ),
        run_config=RunConfig(
            name=attempt.job_id,  # the same name goes on from its last checkpoint
            storage_path=attempt.storage,
            failure_config=FailureConfig(max_failures=spec.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=spec.checkpointing.num_to_keep,
                checkpoint_score_attribute=spec.objective.metric if spec.workload else None,
                checkpoint_score_order=spec.objective.mode,
            ),
            logging_config=LoggingConfig(log_level="WARNING"),  # otherwise several lines for every report
            callbacks=[ProgressReport(attempt)],
        ),
    )
    try:
        outcome: Mapping[str, Any] = trainer.fit().return_value or {}
    except TrainingFailedError as error:
        raise explain(error) from error
    require_success(outcome)
    return outcome.get("model_version")


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
        return JobFailed(
            FailureCause.WORKERS_LOST, f"lost worker {ranks} more often than max_failures allows: {reason}"
        )
    rank = min(failures)
    return JobFailed(FailureCause.USER_CODE_FAILED, f"worker {rank}: {failures[rank]}")


if __name__ == "__main__":
    drive(TrainSpec, train, description="Train a workload by distributed data parallel.")
