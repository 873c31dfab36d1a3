"""Where jobs run: Ray jobs on a cluster, what they hold, what they wait for, and the workers that there are."""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from platform_app.domain.explain import Sign
from platform_app.domain.job import Reason
from platform_app.domain.supply import GroupCount


@dataclass(frozen=True)
class RayJobRequest:
    """What is submitted to Ray, ready to send."""

    submission_id: str
    entrypoint: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]
    driver: Mapping[str, Any] = field(default_factory=dict)
    """Ray's `entrypoint_…` fields, which say where the driver runs; empty: on the head."""
    manifest: Mapping[str, Any] | None = None
    """The RayJob to create, where the attempt gets a cluster of its own."""


class RayJobStatus(StrEnum):
    """Ray's own job states."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class RayJobObservation:
    """What Ray says of one of our jobs."""

    status: RayJobStatus
    message: str = ""
    cause: Reason | None = None
    """Why it failed, where that was its cluster's doing; None: its report says."""


class JobRunner(Protocol):
    """Where attempts run."""

    def submit(self, request: RayJobRequest) -> None:
        """Start an attempt; nothing happens when one with this submission id is there already.

        Raises:
            TemporaryError: the cluster is away.
            PermanentError: the cluster refuses the request.
        """
        ...

    def observe(self) -> Mapping[str, RayJobObservation]:
        """Say what the cluster knows of all its jobs, by submission id."""
        ...

    def stop(self, submission_id: str) -> None:
        """Ask an attempt to stop; nothing happens when it has ended or is gone."""
        ...

    def release(self, submission_id: str) -> None:
        """Let go of what an ended attempt still holds; its log is kept by now. Nothing happens when it is gone."""
        ...

    def logs(self, submission_id: str) -> str | None:
        """Read the whole output so far; None when the cluster does not know the job."""
        ...

    def tail(self, submission_id: str) -> AsyncIterator[str]:
        """Stream the output from its beginning until the attempt ends."""
        ...


class HeldGpus(Protocol):
    """What Ray lets running jobs hold beyond their drivers."""

    def of(self, submission_ids: Collection[str]) -> Mapping[str, float]:
        """Count the GPUs that each job's actors, tasks and placement groups hold; a job that holds none is left out.

        Raises:
            TemporaryError: the cluster does not say.
        """
        ...


class WaitingSigns(Protocol):
    """What is known of attempts that wait for their cluster."""

    def of(self, submission_ids: Collection[str]) -> Mapping[str, tuple[Sign, ...]]:
        """Gather what is known of each; one of which nothing is known is left out."""
        ...


class Cluster(Protocol):
    """The Ray cluster's workers."""

    def workers(self) -> Mapping[str, GroupCount]:
        """Count the workers of each group that has any, by group name; the head is not a worker."""
        ...
