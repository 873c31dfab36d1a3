"""What an observation means for a job: a function of values, the rule that the reconciler acts by."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.ports import RayJobObservation, RayJobStatus
from platform_app.specs import AttemptReport, CommandSpec

LOST_CLUSTERS = 10
"""Clusters that a job may lose before something about the job itself is suspected."""
LOST_DRIVERS = 10
"""Likewise drivers."""
_KILLED = re.compile(r"exit code (-9|137)\b|^Job supervisor actor died|^Unexpected error occurred")
"""How Ray tells of a driver that someone killed, or of the actor that looks after it: the kernel or Ray for want of
memory, or someone by hand."""

_EXITED = re.compile(r"Job entrypoint command failed with exit code -?\d+")
"""How Ray begins to tell of a driver that ended by itself; the end of its output follows."""
_NO_RUNTIME_ENV = "runtime_env setup failed"


class Step(StrEnum):
    """What to do about a job that holds capacity."""

    NOTHING = "nothing"
    SUBMIT = "submit"
    """The runner does not know the attempt yet."""
    STOP = "stop"
    """Ask the runner once more."""
    RUNS = "runs"
    """Record that the attempt has started."""
    END = "end"
    """The runner says that the attempt has ended; why is in its report."""
    LOST = "lost"
    """The runner knew the attempt and knows it no more."""
    MAKE_ROOM = "make-room"
    """Have it go, so that another may have its workers."""
    LEFT = "left"
    """It is to go, and was not there yet."""
    EVICTED = "evicted"
    """It ran, and waits for a cluster again."""


@dataclass(frozen=True)
class Ending:
    """Why an attempt ended, for the ledger and for a person."""

    reason: Reason
    message: str = ""


def step(job: Job, seen: RayJobObservation | None) -> Step:
    """Decide what to do about a job that holds capacity.

    Args:
        job: PENDING, RUNNING or STOPPING.
        seen: what the runner says of its newest attempt; None when it knows nothing of it.
    """
    if seen is None:
        if job.state is JobState.PENDING:
            return Step.LEFT if job.is_leaving else Step.SUBMIT
        return Step.LOST
    if seen.status not in (RayJobStatus.PENDING, RayJobStatus.RUNNING):
        return Step.END
    if job.state is JobState.STOPPING:
        return Step.STOP
    if job.is_leaving:
        return Step.MAKE_ROOM
    if job.state is JobState.PENDING and seen.status is RayJobStatus.RUNNING:
        return Step.RUNS
    if job.state is JobState.RUNNING and seen.status is RayJobStatus.PENDING:
        return Step.EVICTED
    return Step.NOTHING


def past_deadline(job: Job, now: datetime) -> str:
    """Say that a job has run for longer than it may; nothing while it has not, or does not run."""
    deadline = job.spec.deadline_seconds
    if deadline is None or job.state is not JobState.RUNNING or job.ran(now) < timedelta(seconds=deadline):
        return ""
    return f"stopped, for it has run for its deadline_seconds of {deadline:g}"


def lost(job: Job, why: str = "") -> Ending:
    """Say how an attempt ended that went away with its cluster; `why` is what the runner knows of it."""
    if job.state is JobState.STOPPING:
        if job.reason:
            return Ending(job.reason, job.message)
        return Ending(Reason.STOPPED_BY_USER, "stopped; the cluster knows nothing of it")
    losses = 1 + sum(attempt.reason is Reason.CLUSTER_LOST for attempt in job.attempts)
    if losses >= LOST_CLUSTERS:
        return Ending(Reason.DRIVER_FAILED, f"the cluster was lost {losses} times while this job ran: see its log")
    detail = f" ({why})" if why else ""
    return Ending(Reason.CLUSTER_LOST, f"the cluster was lost{detail}; it continues from its last checkpoint")


def evicted(seen: RayJobObservation) -> Ending:
    """Say how an attempt ended whose cluster was taken away for others."""
    detail = f" ({seen.message})" if seen.message else ""
    return Ending(Reason.PREEMPTED, f"its cluster was taken away{detail}; it continues from its last checkpoint")


def made_room(job: Job) -> Ending:
    """Say how an attempt ended that went to make room for another job."""
    beneficiary = job.attempt.preempted_for if job.attempt else None
    return Ending(Reason.PREEMPTED, f"made room for {beneficiary}; it continues from its last checkpoint")


def told(report: AttemptReport | None, now: datetime) -> list[Event]:
    """Give what an ended attempt tells of its way: what interrupted it, at what cost, and what went wrong."""
    if report is None:
        return []
    interruptions = [Event(one.at, "interruption", str(one)) for one in report.interruptions]
    return [*interruptions, *(Event(now, "warning", warning) for warning in report.warnings)]


def ending(job: Job, seen: RayJobObservation, report: AttemptReport | None) -> Ending:
    """Say why an attempt ended that the runner says has ended."""
    if seen.status is RayJobStatus.SUCCEEDED:
        return Ending(Reason.COMPLETED)
    if asked := _as_asked(job, seen, report):
        return asked
    if seen.message.startswith(_NO_RUNTIME_ENV):
        return Ending(Reason.RUNTIME_ENV_FAILED, seen.message)
    if isinstance(job.spec, CommandSpec) and (exited := _EXITED.match(seen.message)):
        return Ending(Reason.USER_CODE_FAILED, exited[0])
    if report and report.cause:
        return Ending(Reason(report.cause.value), report.message)
    if seen.cause is Reason.CLUSTER_LOST:
        return lost(job, seen.message)
    if seen.cause:
        return Ending(seen.cause, seen.message)
    if _KILLED.search(seen.message):
        return _driver_lost(job)
    detail = f": {seen.message}" if seen.message else ""
    return Ending(Reason.DRIVER_FAILED, f"the driver ended without giving a reason{detail}")


def _driver_lost(job: Job) -> Ending:
    losses = 1 + sum(attempt.reason is Reason.DRIVER_LOST for attempt in job.attempts)
    if losses >= LOST_DRIVERS:
        return Ending(Reason.DRIVER_FAILED, f"the driver was killed {losses} times: has the head memory enough for it?")
    return Ending(Reason.DRIVER_LOST, "the driver was killed; it continues from its last checkpoint")


def _as_asked(job: Job, seen: RayJobObservation, report: AttemptReport | None) -> Ending | None:
    """Say why an attempt ended that someone has stopped, or that went to make room; None for any other."""
    asked = job.state is JobState.STOPPING
    if not asked and job.is_leaving and not (report and report.cause):
        return made_room(job)
    if not asked and seen.status is not RayJobStatus.STOPPED:
        return None
    if asked and job.reason:
        return Ending(job.reason, job.message)
    return Ending(Reason.STOPPED_BY_USER, "stopped" if asked else "stopped from outside the platform")
