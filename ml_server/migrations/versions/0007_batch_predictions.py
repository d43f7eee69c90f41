"""Batch predictions have tables of their own, like those of training jobs."""

import sqlalchemy as sa
from alembic import op

from servicekit.database import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "batch_prediction_jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("progress", sa.JSON),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lost_attempts", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("runner", sa.String),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("keeps_result", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("resource", sa.String, nullable=False, server_default=""),
    )
    op.create_index("batch_prediction_jobs_by_owner", "batch_prediction_jobs", ["owner", "create_time", "id"])
    op.create_index("batch_prediction_jobs_by_state", "batch_prediction_jobs", ["state", "priority", "create_time"])
    op.create_table(
        "batch_prediction_job_attempts",
        sa.Column("job_id", sa.String, sa.ForeignKey("batch_prediction_jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("runner", sa.String, nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=False),
        sa.Column("end_time", UtcDateTime),
        sa.Column("error", sa.JSON),
    )
    op.create_table(
        "batch_prediction_job_events",
        sa.Column("job_id", sa.String, sa.ForeignKey("batch_prediction_jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
    )
