"""Elastic runs: how many workers an attempt may have."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("granted_workers", sa.Integer))


def downgrade() -> None:
    op.drop_column("attempts", "granted_workers")
