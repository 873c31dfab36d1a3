"""What the platform needs of the outside: few verbs each. Fakes and adapters pass the same contract tests.

"Not there" is a value (None or absence), never an error; stopping and deleting twice is the same as once. A library's
own errors become `TemporaryError` (away: try again) or `PermanentError` (refused) at the boundary.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from platform_app.domain.deployment import Deployment, Revision
from platform_app.domain.explain import Sign
from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.domain.rollout import Scores
from platform_app.domain.supply import GroupCount
from platform_app.domain.team import AuditEntry, Team, Token
from platform_app.serving_views import OriginView
from platform_app.specs import AttemptReport, Grant, Quota, ServedModel, SplitCounts
from platform_app.views import ModelVersionView, ModelView, TrialView


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


class Storage(Protocol):
    """The shared filesystem: reports, ended attempts' logs and uploaded working directories."""

    def report(self, job_id: str, attempt: int) -> AttemptReport | None:
        """Read an attempt's own account of itself; None before it has written any."""
        ...

    def grant(self, job_id: str, granted: Grant) -> None:
        """Tell a job's running attempt what it may have; the same again changes nothing."""
        ...

    def keep_log(self, job_id: str, attempt: int, text: str) -> None:
        """Keep the output of an ended attempt, whatever becomes of the cluster that ran it."""
        ...

    def log(self, job_id: str, attempt: int) -> str | None:
        """Read a kept output; None when there is none."""
        ...

    def add_package(self, chunks: Iterable[bytes], limit_bytes: int, reserved: Collection[str] = ()) -> str:
        """Store a working directory's zip and give its name, `package:{sha256}`.

        Args:
            chunks: the zip as it arrives.
            limit_bytes: its largest size.
            reserved: names that nothing at its top level may have.

        Raises:
            InvalidRequest: it is too large, no zip, or holds what it may not.
        """
        ...

    def name_package(self, team: str, name: str, package: str) -> None:
        """Let a package have a name within a team, in the place of what had it. Raises InvalidRequest for a path."""
        ...

    def named_package(self, team: str, name: str) -> str | None:
        """Give the package that has a name within a team; None when none has. Raises InvalidRequest for a path."""
        ...

    def package_uri(self, package: str) -> str | None:
        """Give the URI by which Ray's workers fetch a package; None when there is no such package."""
        ...


class ModelRegistry(Protocol):
    """Registered models, their versions and aliases, and the runs of sweeps: MLflow's."""

    def models(self) -> Sequence[ModelView]:
        """List registered models, by name."""
        ...

    def versions(self, name: str) -> Sequence[ModelVersionView] | None:
        """List versions, newest first; None when there is no such model."""
        ...

    def resolve(self, name: str, alias: str) -> int | None:
        """Give the version that an alias names; None when the model or the alias is not there."""
        ...

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Point an alias at a version; None takes the alias away. Raises NotFound for a version that is not there."""
        ...

    def origin(self, name: str, version: int) -> OriginView | None:
        """Say what made a version; None when there is no such version."""
        ...

    def trials(self, experiment: str, job_id: str) -> Sequence[TrialView]:
        """List a sweep's trials, oldest first."""
        ...


@dataclass(frozen=True)
class ServingObservation:
    """What Serve says of one deployment's application."""

    ready: bool
    """All stable replicas are what was applied last."""
    failed: bool
    message: str = ""
    candidate_ready: bool = False
    candidate_failed: bool = False
    candidate_message: str = ""


class ModelServing(Protocol):
    """Where deployments answer."""

    def apply(self, model: ServedModel) -> None:
        """Make the deployment's application serve this version; returns before it does. Same input: no change."""
        ...

    def observe(self) -> Mapping[str, ServingObservation]:
        """Say how each deployment's application is, by deployment name."""
        ...

    def counts(self, model: ServedModel) -> Sequence[SplitCounts]:
        """Give what the stable replicas have counted of a candidate so far; nothing where none has told yet."""
        ...

    def examine(self, model: ServedModel) -> Scores | None:
        """Let a worker evaluate candidate and champion on the spec's dataset, and give the scores once they are there.

        Asking again does not begin again.

        Raises:
            TemporaryError: Ray is away.
        """
        ...

    def delete(self, deployment: str) -> None:
        """Stop serving; nothing happens when it is gone already."""
        ...


@dataclass(frozen=True)
class Prediction:
    """What a deployment answered to plain rows."""

    status: int
    """HTTP's: 200 with a body, or why there is none."""
    body: bytes
    message: str
    """A sentence for the caller, where there is no body."""
    headers: Mapping[str, str]
    """Which deployment and version answered."""


class ModelPredictions(Protocol):
    """Deployments, asked by the control plane itself."""

    async def predict(self, deployment: str, rows: bytes) -> Prediction:
        """Ask a deployment that is there; waits for a replica where it is scaled to zero.

        Raises:
            TemporaryError: it does not answer.
        """
        ...


class Cluster(Protocol):
    """The Ray cluster's workers."""

    def workers(self) -> Mapping[str, GroupCount]:
        """Count the workers of each group that has any, by group name; the head is not a worker."""
        ...
