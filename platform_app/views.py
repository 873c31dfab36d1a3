"""What the API answers: one class for each resource, shared by the server and the typed client."""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar

from platform_app.display import View, bar, fields
from platform_app.domain.goodput import goodput
from platform_app.domain.job import Attempt, Event, Job, JobState, Reason
from platform_app.domain.team import AuditEntry, Team, Token
from platform_app.specs import (
    AttemptReport,
    Interruption,
    JobSpec,
    Market,
    Progress,
    Quota,
    Role,
    digest,
)

T = TypeVar("T")

_TOLD_BY_THE_JOB = {"progress", "num_workers", "warnings", "mlflow_run_id", "model_version"}
"""Fields of a job's view that come from its own report."""


class Page(View, Generic[T]):
    """One page of a list, newest first."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Pass it as `cursor` for the next page; None on the last one."""


class AttemptView(View):
    """One try at running a job."""

    number: int
    submission_id: str
    """The Ray job's id."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: Reason | None
    message: str
    granted_workers: int | None = None
    """Training workers that an elastic run may have."""
    preempted_for: str | None = None
    """The job that it makes room for, once it has been told to go."""

    @classmethod
    def of(cls, job: Job, attempt: Attempt) -> "AttemptView":
        """Show one attempt of a job."""
        return cls(submission_id=f"{job.id}-{attempt.number}", **vars(attempt))


class JobView(View):
    """A job as it is now."""

    id: str
    name: str
    kind: str
    team: str
    tier: str
    state: JobState
    reason: Reason | None
    message: str
    spec: JobSpec
    spec_digest: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: tuple[AttemptView, ...]
    progress: Progress | None = None
    num_workers: int | None = None
    """Training workers that it runs on now."""
    interruptions: tuple[Interruption, ...] = ()
    """Times that it stopped and went on, in all of its attempts, and what each cost; oldest first."""
    goodput: float | None = None
    """Useful time over wall time, from 0 to 1 (`platform_app.domain.goodput`); None before its first step."""
    warnings: tuple[str, ...] = ()
    """What went wrong in the newest attempt without ending it; oldest first."""
    mlflow_run_id: str | None = None
    model_version: int | None = None
    """The version of `spec.registered_model` that this job made."""

    def _repr_html_(self) -> str:
        shown = ("id", "kind", "state", "reason", "message", "created_at", "mlflow_run_id", "model_version")
        pairs = {name: getattr(self, name) for name in shown}
        metrics = self.progress.metrics if self.progress else {}
        drawn = bar(self.progress.done, self.progress.total, self.progress.unit) if self.progress else ""
        return fields({**pairs, "workers": self.num_workers, **metrics}) + drawn

    @classmethod
    def of(cls, job: Job, reports: Sequence[AttemptReport] = ()) -> "JobView":
        """Show a job, with what the reports of its attempts add, oldest first: the newest says how it is now."""
        told = reports[-1].model_dump(include=_TOLD_BY_THE_JOB) if reports else {}
        return cls(
            id=job.id,
            name=job.spec.name,
            kind=job.spec.kind,
            team=job.team,
            tier=job.spec.tier,
            state=job.state,
            reason=job.reason,
            message=job.message,
            spec=job.spec,
            spec_digest=digest(job.spec),
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            attempts=tuple(AttemptView.of(job, attempt) for attempt in job.attempts),
            interruptions=tuple(one for report in reports for one in report.interruptions),
            goodput=goodput(reports),
            **told,
        )


class EventView(View):
    """Something that happened."""

    at: datetime
    kind: str
    message: str

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """Show an event."""
        return cls(**vars(event))


class TrialView(View):
    """One sample of a sweep: an MLflow child run, read and never copied."""

    run_id: str
    name: str
    status: str
    """MLflow's: RUNNING, FINISHED, FAILED or KILLED."""
    params: dict[str, str]
    metrics: dict[str, float]
    started_at: datetime
    ended_at: datetime | None = None


class TeamView(View):
    """A team."""

    name: str
    quota: Quota
    created_at: datetime

    @classmethod
    def of(cls, team: Team) -> "TeamView":
        """Show a team."""
        return cls(**vars(team))


class TokenView(View):
    """What is known of a token: everything but itself."""

    id: str
    name: str
    team: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    is_valid: bool
    """Whether it lets anybody in now."""

    @classmethod
    def of(cls, token: Token, now: datetime) -> "TokenView":
        """Show a token as it is now."""
        return cls(**vars(token), is_valid=token.refusal(now) is None)


class NewTokenView(View):
    """A token that was just made."""

    token: str
    """The token itself: this answer is the only place where it is ever told."""
    of: TokenView


class AuditView(View):
    """Something that was changed, or that someone was not allowed to change: who, what, when."""

    at: datetime
    team: str
    """Of who did it, as is `token`."""
    token: str
    action: str
    """The operation, as `/openapi.json` names it."""
    path: str
    """What it was done to."""
    detail: str
    """What came of it."""
    status: int
    """HTTP status of the answer; 403 where it was refused."""

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditView":
        """Show an entry."""
        return cls(**vars(entry))


class ModelView(View):
    """A registered model."""

    name: str
    latest_version: int | None
    aliases: dict[str, int]
    """Alias to version: `champion`, and `previous` for the way back."""


class ModelVersionView(View):
    """One version of a registered model."""

    version: int
    run_id: str | None
    job_id: str | None
    created_at: datetime
    aliases: tuple[str, ...]
    metrics: dict[str, float]
    """The metrics of the run that made it."""


class WorkerGroupView(View):
    """A worker group and how many workers it has now."""

    name: str
    market: Market
    accelerator_type: str | None
    cpus: int
    gpus: int
    workers: int
    """Alive now."""
    pending: int
    """Asked for, not there yet."""
    min_workers: int
    max_workers: int
    idle_timeout_seconds: int
    price_per_hour: float
    """US dollars for one worker."""


class ClusterView(View):
    """The cluster now."""

    worker_groups: tuple[WorkerGroupView, ...]
    price_per_hour: float
    """US dollars for all workers that are alive."""
