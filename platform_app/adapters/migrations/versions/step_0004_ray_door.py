"""By which id Ray's own clients know a job."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("door_id", sa.String(255)))
        batch.create_unique_constraint("uq_jobs_team_door_id", ["team", "door_id"])
    op.create_index("ix_jobs_door_id", "jobs", ["door_id"])
    op.execute("UPDATE jobs SET door_id = id")


def downgrade() -> None:
    op.drop_index("ix_jobs_door_id", "jobs")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint("uq_jobs_team_door_id", type_="unique")
        batch.drop_column("door_id")
