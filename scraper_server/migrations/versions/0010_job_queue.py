"""Jobs have a priority in the queue, and say whether a cancelled one keeps its result."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0004"


def upgrade() -> None:
    """Adds both columns, and puts the priority into the queue's index."""
    op.add_column("jobs", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("keeps_result", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_index("jobs_by_state", "jobs")
    op.create_index("jobs_by_state", "jobs", ["state", "priority", "create_time"])
