"""A job, its attempts, and the table of what may follow what.

The *reason* is what is stored when something ends; the state follows from it. Preemption, a lost cluster and a lost
driver lead back to QUEUED: the next attempt continues from the last checkpoint under the same MLflow run.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from platform_app.domain.capacity import Placement
from platform_app.domain.team import DEFAULT_TEAM
from platform_app.specs import AnyJobSpec, ClusterChoice

Place = tuple[ClusterChoice, str | None]
"""A cluster that jobs share: the platform's own, or a team's on Kubernetes."""


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "QUEUED"
    """Accepted; waits for room."""
    PENDING = "PENDING"
    """Admitted: an attempt is being started."""
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    """Someone asked it to stop; the attempt still runs."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def is_terminal(self) -> bool:
        """True when nothing follows any more."""
        return self in TERMINAL

    @property
    def holds_capacity(self) -> bool:
        """True when an attempt of the job may occupy workers."""
        return self in (JobState.PENDING, JobState.RUNNING, JobState.STOPPING)


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PENDING, JobState.STOPPED, JobState.FAILED}),
    JobState.PENDING: frozenset(
        {JobState.RUNNING, JobState.STOPPING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset({JobState.STOPPING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.STOPPING: frozenset({JobState.STOPPED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.STOPPED: frozenset(),
}


class Reason(StrEnum):
    """Why an attempt ended."""

    COMPLETED = "completed"
    STOPPED_BY_USER = "stopped-by-user"
    PREEMPTED = "preempted"
    CLUSTER_LOST = "cluster-lost"
    """The cluster that ran it knows nothing of it any more."""
    DRIVER_LOST = "driver-lost"
    """Its driver was killed: by a machine short of memory, or by hand."""
    SUBMISSION_REFUSED = "submission-refused"
    RUNTIME_ENV_FAILED = "runtime-env-failed"
    """Ray could not make the environment that it asks for: a requirement, or the working directory."""
    IMPORT_FAILED = "import-failed"
    METRIC_MISSING = "metric-missing"
    USER_CODE_FAILED = "user-code-failed"
    WORKERS_LOST = "workers-lost"
    CHECKPOINT_FAILED = "checkpoint-failed"
    TRACKING_UNAVAILABLE = "tracking-unavailable"
    MORE_THAN_DECLARED = "more-than-declared"
    """It took more GPUs than it had declared, and its team has such jobs stopped."""
    DEADLINE_EXCEEDED = "deadline-exceeded"
    """It ran for longer than its `deadline_seconds`."""
    DRIVER_FAILED = "driver-failed"
    """The driver ended without giving a reason."""

    @property
    def next_state(self) -> JobState:
        """The state that follows from this reason."""
        return _NEXT_STATE.get(self, JobState.FAILED)


_NEXT_STATE = {
    Reason.COMPLETED: JobState.SUCCEEDED,
    Reason.STOPPED_BY_USER: JobState.STOPPED,
    Reason.PREEMPTED: JobState.QUEUED,
    Reason.CLUSTER_LOST: JobState.QUEUED,
    Reason.DRIVER_LOST: JobState.QUEUED,
}


class IllegalTransition(Exception):
    """A state was asked to follow one that it cannot follow: a bug, not a user's mistake."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job or a deployment, kept for people."""

    at: datetime
    kind: str
    """A state (`RUNNING`), a reason, or what the message is about (`log-tail`)."""
    message: str


@dataclass(frozen=True)
class Attempt:
    """One Ray job of a Job."""

    number: int
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: Reason | None = None
    message: str = ""
    granted_workers: int | None = None
    """Training workers that an elastic run may have; None where the spec alone says how many."""
    preempted_for: str | None = None
    """The job that it makes room for, once it has been told to go."""
    placement: Placement = ()
    """What it was given by admission, and for an elastic run since: where Ray has put each worker may differ."""


@dataclass(frozen=True)
class Job:
    """One submission. Changes only by `moved`; a store writes it back only where `version` is what was read."""

    id: str
    """`{name}-{6 characters}`: DNS-1035, at most 43 characters."""
    spec: AnyJobSpec
    created_at: datetime
    state: JobState = JobState.QUEUED
    reason: Reason | None = None
    message: str = ""
    """For a person: why it is in this state."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    """Oldest first."""
    idempotency_key: str | None = None
    door_id: str | None = None
    """The id by which Ray's own clients know it, one within its team; None once they have deleted it."""
    version: int = field(default=1)
    """Counts writes; the guard of every one."""

    @property
    def team(self) -> str:
        """Whose it is, and who pays for it."""
        return self.spec.team or DEFAULT_TEAM

    @property
    def place(self) -> Place:
        """What its workers are taken from: jobs of other places neither wait for it nor make room for it."""
        return self.spec.cluster, self.team if self.spec.cluster is ClusterChoice.DEDICATED else None

    @property
    def queued_since(self) -> datetime:
        """When it came into the queue, the last time."""
        before = self.attempts[:-1] if self.state.holds_capacity else self.attempts
        return (before[-1].ended_at if before else None) or self.created_at

    @property
    def is_leaving(self) -> bool:
        """Whether it has been told to go, by a person or to make room."""
        held = self.state.holds_capacity and self.attempt
        return self.state is JobState.STOPPING or bool(held and held.preempted_for)

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt; None before the first."""
        return self.attempts[-1] if self.attempts else None

    @property
    def submission_id(self) -> str | None:
        """The Ray job of the newest attempt; deterministic, so that submitting twice is harmless."""
        return f"{self.id}-{self.attempt.number}" if self.attempt else None

    def ran(self, now: datetime) -> timedelta:
        """Say how long its attempts ran, all together; a clock that was set back counts as nothing."""
        spans = ((one.ended_at or now) - one.started_at for one in self.attempts if one.started_at)
        return sum((max(span, timedelta()) for span in spans), timedelta())

    def moved(self, state: JobState, now: datetime, message: str = "") -> "Job":
        """Give this job in the next state.

        Raises:
            IllegalTransition: the state cannot follow the present one.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.id}: {self.state} -> {state}")
        started = self.started_at or (now if state is JobState.RUNNING else None)
        ended = now if state.is_terminal else None
        return replace(self, state=state, message=message, started_at=started, ended_at=ended)

    def admitted(self, now: datetime, granted_workers: int | None = None, placement: Placement = ()) -> "Job":
        """Give this job PENDING with its next attempt, which may have so many workers where the run is elastic."""
        number = len(self.attempts) + 1
        following = Attempt(number, created_at=now, granted_workers=granted_workers, placement=placement)
        return replace(self.moved(JobState.PENDING, now), attempts=(*self.attempts, following), reason=None)

    def granted(self, num_workers: int, placement: Placement | None = None) -> "Job":
        """Give this job with another number of workers that its attempt may have, and where, if elsewhere."""
        where = {} if placement is None else {"placement": placement}
        return self._with_attempt(self, granted_workers=num_workers, **where)

    def preempted(self, beneficiary: str) -> "Job":
        """Give this job with its attempt told to go, to make room for another job."""
        return self._with_attempt(self, preempted_for=beneficiary)

    def stopped_for(self, reason: Reason, now: datetime, message: str) -> "Job":
        """Give this job STOPPING, to end for a reason that is not its user's word."""
        return replace(self.moved(JobState.STOPPING, now, message), reason=reason)

    def running(self, now: datetime) -> "Job":
        """Give this job RUNNING, its attempt started."""
        return self._with_attempt(self.moved(JobState.RUNNING, now), started_at=now)

    def ended(self, reason: Reason, now: datetime, message: str = "") -> "Job":
        """Give this job after its attempt ended for a reason; the next state follows from the reason."""
        moved = replace(self.moved(reason.next_state, now, message), reason=reason)
        if not self.state.holds_capacity:
            return moved  # Its attempts, if any, have ended before, each for a reason of its own.
        return self._with_attempt(moved, ended_at=now, reason=reason, message=message)

    @staticmethod
    def _with_attempt(job: "Job", **changes: object) -> "Job":
        if not job.attempts:
            return job
        return replace(job, attempts=(*job.attempts[:-1], replace(job.attempts[-1], **changes)))  # type: ignore[arg-type]  # names and types are those of Attempt
