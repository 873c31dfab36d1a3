"""The tables, and the one place where rows become domain values and domain values rows.

Portable SQL types only: SQLite on a laptop and PostgreSQL on a cluster hold the same schema. What is desired is
kept as the spec's own JSON; what is searched, ordered or guarded by is a column.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from platform_app.domain.capacity import Share
from platform_app.domain.deployment import Deployment, DeploymentState, Revision, RevisionState
from platform_app.domain.job import Attempt, Event, Job, JobState, Reason
from platform_app.domain.rollout import Rollout
from platform_app.domain.team import AuditEntry, Team, Token
from platform_app.specs import DeploymentSpec, Quota, Role, job_spec_adapter


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its zone. SQLite keeps no zone, so what is written is UTC and what is read is given UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Take any moment that has a zone; one without would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without a zone: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Give the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    # Constraints have names, so that a later migration can change them in either database.
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("team", ForeignKey("teams.name"), nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("reason", String(64)),
    Column("message", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("idempotency_key", String(255)),
    Column("door_id", String(255)),
    Column("version", Integer, nullable=False),
    UniqueConstraint("team", "idempotency_key"),
    UniqueConstraint("team", "door_id"),
    # A page is a range of one of these, whatever the table's size.
    Index(None, "created_at", "id"),
    Index(None, "state", "created_at", "id"),
    Index(None, "kind", "created_at", "id"),
    Index(None, "name", "created_at", "id"),
    Index(None, "team", "created_at", "id"),
    Index(None, "door_id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("reason", String(64)),
    Column("message", Text, nullable=False),
    Column("granted_workers", Integer),
    Column("preempted_for", String(64)),
    Column("placement", Text, nullable=False, server_default="[]"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Index(None, "job_id", "id"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("target_version", Integer),
    Column("served_version", Integer),
    Column("revision", Integer, nullable=False),
    Column("rollout", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False),
)

teams = Table(
    "teams",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("quota", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used", Float, nullable=False, server_default="0"),
    Column("used_at", UtcDateTime),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("team", ForeignKey("teams.name"), nullable=False),
    Column("role", String(32), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("team", String(64), nullable=False),
    Column("token", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Index(None, "team", "id"),
)

revisions = Table(
    "revisions",
    metadata,
    # No foreign key: what once served is told also when its deployment is gone.
    Column("deployment", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("model", String(64), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "model", "model_version"),
)

deployment_events = Table(
    "deployment_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("deployment", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Index(None, "deployment", "id"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)


def job_row(job: Job) -> dict[str, Any]:
    """Give a job as a row of `jobs`."""
    return {
        "id": job.id,
        "name": job.spec.name,
        "kind": job.spec.kind,
        "team": job.team,
        "spec": job.spec.model_dump_json(),
        "state": job.state,
        "reason": job.reason,
        "message": job.message,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "idempotency_key": job.idempotency_key,
        "door_id": job.door_id,
        "version": job.version,
    }


def job_of(row: RowMapping, its_attempts: Iterable[RowMapping]) -> Job:
    """Read a job from its row and those of its attempts, oldest first."""
    return Job(
        id=row["id"],
        spec=job_spec_adapter.validate_json(row["spec"]),
        created_at=row["created_at"],
        state=JobState(row["state"]),
        reason=row["reason"] and Reason(row["reason"]),
        message=row["message"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        attempts=tuple(attempt_of(attempt) for attempt in its_attempts),
        idempotency_key=row["idempotency_key"],
        door_id=row["door_id"],
        version=row["version"],
    )


def attempt_row(job_id: str, attempt: Attempt) -> dict[str, Any]:
    """Give an attempt as a row of `attempts`."""
    placement = json.dumps([vars(share) for share in attempt.placement])
    return {"job_id": job_id, **vars(attempt), "placement": placement}


def attempt_of(row: RowMapping) -> Attempt:
    """Read an attempt from its row."""
    fields = {name: value for name, value in row.items() if name != "job_id"}
    placement = tuple(Share(**share) for share in json.loads(row["placement"]))
    return Attempt(**{**fields, "reason": row["reason"] and Reason(row["reason"]), "placement": placement})


def event_row(job_id: str, event: Event) -> dict[str, Any]:
    """Give an event as a row of `events`; the database numbers it."""
    return {"job_id": job_id, **vars(event)}


def event_of(row: RowMapping) -> Event:
    """Read an event from its row."""
    return Event(at=row["at"], kind=row["kind"], message=row["message"])


def deployment_row(deployment: Deployment) -> dict[str, Any]:
    """Give a deployment as a row of `deployments`."""
    rollout = deployment.rollout and _rollout.dump_json(deployment.rollout).decode()
    return {**vars(deployment), "spec": deployment.spec.model_dump_json(), "rollout": rollout}


def deployment_of(row: RowMapping) -> Deployment:
    """Read a deployment from its row."""
    spec = DeploymentSpec.model_validate_json(row["spec"])
    rollout = row["rollout"] and _rollout.validate_json(row["rollout"])
    return Deployment(**{**row, "spec": spec, "state": DeploymentState(row["state"]), "rollout": rollout})


_rollout = TypeAdapter(Rollout)


def revision_row(revision: Revision) -> dict[str, Any]:
    """Give a revision as a row of `revisions`."""
    return {**vars(revision), "model": revision.spec.model, "spec": revision.spec.model_dump_json()}


def revision_of(row: RowMapping) -> Revision:
    """Read a revision from its row."""
    fields = {name: value for name, value in row.items() if name != "model"}
    spec = DeploymentSpec.model_validate_json(row["spec"])
    return Revision(**{**fields, "spec": spec, "state": RevisionState(row["state"])})


def team_of(row: RowMapping) -> Team:
    """Read a team from its row."""
    return Team(**{**row, "quota": Quota.model_validate_json(row["quota"])})


def token_of(row: RowMapping) -> Token:
    """Read a token from its row."""
    return Token(**{**row, "role": Role(row["role"])})


def audit_entry_of(row: RowMapping) -> AuditEntry:
    """Read an entry of the audit log from its row."""
    return AuditEntry(**{name: value for name, value in row.items() if name != "id"})
