"""What a running job tells the platform: one small JSON file beside its checkpoints, replaced whole each time.

`{storage}/{job id}/attempt-{n}.json`. A job writes it, the control plane reads it; it works the same on a laptop's
folder and on NFS, and needs neither to be up while the other is.
"""

from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict, Field

from platform_app.specs.base import Spec


class AttemptStatus(StrEnum):
    """How far an attempt is, as its driver sees it."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class FailureCause(StrEnum):
    """Why an attempt failed, as far as its driver can tell."""

    IMPORT_FAILED = "import-failed"
    """The workload or train loop cannot be imported."""
    METRIC_MISSING = "metric-missing"
    """The workload never reports the objective's metric."""
    USER_CODE_FAILED = "user-code-failed"
    """The workload raised."""
    WORKERS_LOST = "workers-lost"
    """Workers were lost again and again without a checkpoint in between."""
    CHECKPOINT_FAILED = "checkpoint-failed"
    """More checkpoints in a row could not be written than `checkpointing.max_failures` allows."""
    TRACKING_UNAVAILABLE = "tracking-unavailable"
    """MLflow could not be reached for as long as the driver is willing to wait."""


class Progress(Spec):
    """How much is done, in steps for a training run and in trials for a sweep."""

    # A loss may be NaN; JSON has no such number, so it is written as the string that a float is read from.
    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    done: int = 0
    total: int
    unit: str
    """`steps` or `trials`."""
    metrics: dict[str, float] = {}
    """The latest metrics of a training run; the best trial's metrics of a sweep."""
    began_at: datetime | None = None
    """When this attempt had done its first step; None for a sweep."""
    at: datetime | None = None
    """When so much was done; None for a sweep."""


class Grant(Spec):
    """What the platform lets a running attempt have; an elastic run follows it."""

    num_workers: int = Field(ge=1)
    leave: int = Field(ge=0, default=0)
    """The attempt that is to commit a checkpoint and end, to make room for another job; 0: none."""


class Interruption(Spec):
    """One time that training stopped and went on, and what it cost."""

    at: datetime
    cause: str
    """`notice`, `worker-lost`, `driver-lost`, `preempted`, `user-error` or `resize`."""
    num_workers: int
    """Workers that went on."""
    steps_lost: int
    """Optimizer steps that were done and had to be done again, as far as the driver had seen them: it is told of
    progress twice a second."""
    seconds: float
    """From the last step before to the first step after."""
    gpu_seconds_lost: float
    """GPU time of the lost steps and of the wait."""
    step: int = 0
    """The last step before, as far as the driver had seen."""
    lost_seconds: float = 0.0
    """Time that the lost steps had taken."""

    def __str__(self) -> str:
        """Say it in a sentence."""
        lost = f"{self.steps_lost} steps and {self.gpu_seconds_lost:.1f} GPU-seconds lost"
        return f"{self.cause}: {lost}; went on after {self.seconds:.1f} s with {self.num_workers} workers"


class AttemptReport(Spec):
    """An attempt's own account of itself."""

    status: AttemptStatus
    progress: Progress | None = None
    cause: FailureCause | None = None
    message: str = ""
    """For a person: what went wrong and what to do."""
    num_workers: int | None = None
    """Training workers that it runs on now; of a sweep, those that it may use yet."""
    interruptions: tuple[Interruption, ...] = ()
    """Oldest first."""
    warnings: tuple[str, ...] = ()
    """What went wrong without ending the attempt, such as a checkpoint that could not be written; oldest first."""
    mlflow_run_id: str | None = None
    model_version: int | None = None
    """The version of `registered_model` that this attempt made."""


def run_dir(storage: str, job_id: str) -> str:
    """Name the folder of a job on the shared filesystem: checkpoints, reports, logs of ended attempts."""
    return f"{storage.rstrip('/')}/{job_id}"


def report_path(storage: str, job_id: str, attempt: int) -> str:
    """Name the file that holds an attempt's `AttemptReport`."""
    return f"{run_dir(storage, job_id)}/attempt-{attempt}.json"


def grant_path(storage: str, job_id: str) -> str:
    """Name the file by which the platform tells a running attempt its `Grant`; absent: it sizes itself."""
    return f"{run_dir(storage, job_id)}/grant.json"
