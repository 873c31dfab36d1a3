"""Teams with their quotas and tokens, the audit log, whose a job is, and for whom an attempt made room."""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    teams = op.create_table(
        "teams",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("quota", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("used", sa.Float, nullable=False, server_default="0"),
        sa.Column("used_at", _MOMENT),
        sa.PrimaryKeyConstraint("name", name="pk_teams"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
        sa.ForeignKeyConstraint(["team"], ["teams.name"], name="fk_tokens_team"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_team_id", "audit", ["team", "id"])
    whose = _whose_jobs()
    now = datetime.now(UTC)
    op.bulk_insert(
        teams, [{"name": name, "quota": "{}", "created_at": now} for name in sorted({"default", *whose.values()})]
    )
    op.add_column("jobs", sa.Column("team", sa.String(64), nullable=False, server_default="default"))
    jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("team", sa.String))
    for job_id, team in whose.items():
        op.execute(sa.update(jobs).where(jobs.c.id == job_id).values(team=team))
    # A key is its team's: another team's job is nobody else's to see.
    with op.batch_alter_table("jobs") as batch:
        batch.alter_column("team", existing_type=sa.String(64), existing_nullable=False, server_default=None)
        batch.drop_constraint("uq_jobs_idempotency_key", type_="unique")
        batch.create_unique_constraint("uq_jobs_team_idempotency_key", ["team", "idempotency_key"])
        batch.create_foreign_key("fk_jobs_team", "teams", ["team"], ["name"])
    op.create_index("ix_jobs_team_created_at_id", "jobs", ["team", "created_at", "id"])
    op.add_column("attempts", sa.Column("preempted_for", sa.String(64)))


def downgrade() -> None:
    op.drop_column("attempts", "preempted_for")
    op.drop_index("ix_jobs_team_created_at_id", "jobs")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint("fk_jobs_team", type_="foreignkey")
        batch.drop_constraint("uq_jobs_team_idempotency_key", type_="unique")
        batch.create_unique_constraint("uq_jobs_idempotency_key", ["idempotency_key"])
        batch.drop_column("team")
    for table in ("audit", "tokens", "teams"):
        op.drop_table(table)


def _whose_jobs() -> dict[str, str]:
    """Give the team of each job that names one, as its spec has it."""
    jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("spec", sa.Text))
    rows = op.get_bind().execute(sa.select(jobs.c.id, jobs.c.spec))
    return {row.id: team for row in rows if (team := json.loads(row.spec).get("team"))}
