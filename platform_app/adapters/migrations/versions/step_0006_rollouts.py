"""Rollouts: what a deployment tries, what it served before, and what happened to it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.drop_column("deployments", "applied_digest")
    op.add_column("deployments", sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
    op.add_column("deployments", sa.Column("rollout", sa.Text))
    op.create_table(
        "revisions",
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("deployment", "number", name="pk_revisions"),
    )
    op.create_index("ix_revisions_model_model_version", "revisions", ["model", "model_version"])
    op.create_table(
        "deployment_events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployment_events"),
    )
    op.create_index("ix_deployment_events_deployment_id", "deployment_events", ["deployment", "id"])


def downgrade() -> None:
    op.drop_table("deployment_events")
    op.drop_table("revisions")
    op.drop_column("deployments", "rollout")
    op.drop_column("deployments", "revision")
    op.add_column("deployments", sa.Column("applied_digest", sa.String(64)))
