"""What it keeps: the ledger of jobs, deployments and teams, and who may act on them; and the time."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from platform_app.domain.deployment import Deployment, Revision
from platform_app.domain.job import Event, Job, JobState
from platform_app.domain.team import AuditEntry, Team, Token
from platform_app.specs import Quota


class Clock(Protocol):
    """The time, injected so that no rule reads it by itself."""

    def now(self) -> datetime:
        """Give the present moment, in UTC, with its zone."""
        ...


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list."""

    states: frozenset[JobState] = frozenset()
    """Empty: all."""
    kind: str | None = None
    name: str | None = None
    team: str | None = None


class JobStore(Protocol):
    """Jobs with their attempts and events: the ledger."""

    def add(self, job: Job, events: Iterable[Event]) -> Job:
        """Store a new job, or give its team's stored one with the same idempotency key (its spec may differ)."""
        ...

    def get(self, job_id: str) -> Job | None:
        """Read one job."""
        ...

    def at_door(self, door_id: str, team: str | None = None) -> Job | None:
        """Read the job that Ray's clients know by an id: a team's, or the newest of any."""
        ...

    def list(self, wanted: JobFilter, limit: int, cursor: str | None = None) -> tuple[Sequence[Job], str | None]:
        """Read a page, newest first, and the cursor of the next one. Raises InvalidRequest for a cursor not ours."""
        ...

    def live(self) -> Sequence[Job]:
        """Read every job that is not terminal, oldest first."""
        ...

    def save(self, job: Job, events: Iterable[Event] = ()) -> Job:
        """Write a changed job and what happened to it, in one transaction.

        Raises:
            StaleWrite: the stored version is not `job.version`.
        """
        ...

    def events(self, job_id: str) -> Sequence[Event]:
        """Read what happened to a job, oldest first."""
        ...


class DeploymentStore(Protocol):
    """Desired deployments."""

    def get(self, name: str) -> Deployment | None:
        """Read one deployment."""
        ...

    def list(self) -> Sequence[Deployment]:
        """Read all, by name."""
        ...

    def save(
        self, deployment: Deployment, events: Iterable[Event] = (), revision: Revision | None = None
    ) -> Deployment:
        """Write one, what happened to it, and a revision, new or changed, in one transaction; `version` 0 adds it.

        Raises:
            StaleWrite: the stored version is not `deployment.version`.
        """
        ...

    def events(self, name: str) -> Sequence[Event]:
        """Read what happened under a name, oldest first, also when its deployment is gone."""
        ...

    def revisions(self, name: str) -> Sequence[Revision]:
        """Read all revisions under a name, newest first, also when its deployment is gone."""
        ...

    def revisions_of(self, model: str, versions: Collection[int]) -> Sequence[Revision]:
        """Read the revisions that served, or tried to serve, versions of a model, newest first."""
        ...

    def delete(self, name: str) -> None:
        """Forget one that is DELETING; nothing happens when it is gone already, or was wanted again meanwhile."""
        ...


class TeamStore(Protocol):
    """Teams, their tokens, and the audit log."""

    def teams(self) -> Sequence[Team]:
        """Read all teams, by name."""
        ...

    def add(self, team: Team) -> None:
        """Store a team; nothing happens when there is one of this name."""
        ...

    def set_quota(self, name: str, quota: Quota) -> None:
        """Replace a team's quota; nothing happens when there is no such team."""
        ...

    def account(self, name: str, used: float, now: datetime) -> None:
        """Write what a team's jobs have used lately, as of now; nothing happens when there is no such team."""
        ...

    def tokens(self, team: str | None = None) -> Sequence[Token]:
        """Read the tokens of a team, or all: also those that let nobody in any more; oldest first."""
        ...

    def add_token(self, token: Token) -> None:
        """Store a token. Raises Conflict for a used id, NotFound where there is no such team."""
        ...

    def token_of(self, digest: str) -> Token | None:
        """Read the token with a digest."""
        ...

    def revoke(self, token_id: str, now: datetime) -> Token | None:
        """Revoke a token and give it; the first time counts. None where there is no such token."""
        ...

    def audit(self, entry: AuditEntry) -> None:
        """Append to the audit log."""
        ...

    def audited(self, team: str | None, limit: int, before: int | None = None) -> Sequence[tuple[int, AuditEntry]]:
        """Read numbered entries, newest first: of one team's tokens, or all; only those numbered below `before`."""
        ...


class Lease(Protocol):
    """The right to act. Of several control planes alive at once, only its holder runs the reconciler."""

    def acquire(self, holder: str, now: datetime, duration: timedelta) -> bool:
        """Take or renew the lease, for a minute at most; False while someone else holds it unexpired."""
        ...
