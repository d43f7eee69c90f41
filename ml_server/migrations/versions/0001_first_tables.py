"""Jobs with their events, models with their versions and aliases."""

import sqlalchemy as sa
from alembic import op

from servicekit.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "requests",
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("resource", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("owner", "method", "request_id"),
    )
    op.create_table(
        "jobs",
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
    )
    op.create_index("jobs_by_owner", "jobs", ["owner", "create_time", "id"])
    op.create_index("jobs_by_state", "jobs", ["state", "create_time"])
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("runner", sa.String, nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=False),
        sa.Column("end_time", UtcDateTime),
        sa.Column("error", sa.JSON),
    )
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("specification", sa.JSON, nullable=False),
        sa.Column("has_initial_weights", sa.Boolean, nullable=False),
        sa.Column("latest_version", sa.BigInteger, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("owner", "id"),
    )
    op.create_index("models_by_owner", "models", ["owner", "create_time", "uid"])
    op.create_table(
        "model_versions",
        sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("training_job", sa.String, unique=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "model_aliases",
        sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
