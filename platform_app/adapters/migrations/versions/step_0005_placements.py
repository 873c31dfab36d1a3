"""Where admission has put the workers of an attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("placement", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("attempts", "placement")
