"""Data sets, their views and artifacts, import jobs and remembered requests."""

import sqlalchemy as sa
from alembic import op

from servicekit.database import UtcDateTime

revision = "0001"
down_revision = None

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "requests",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("method", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("resource", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    _create_job_tables()
    op.create_table(
        "datasets",
        sa.Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("origin", sa.JSON, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("statistics", sa.JSON, nullable=False),
        sa.Column("format", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("import_job", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("owner", "id", name="datasets_by_name"),
    )
    op.create_table(
        "dataset_views",
        sa.Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("dataset_id", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("resolved", sa.JSON, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("dataset_digest", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("owner", "dataset_id", "id", name="dataset_views_by_name"),
        sa.ForeignKeyConstraint(
            ["owner", "dataset_id"], ["datasets.owner", "datasets.id"], name="dataset_views_dataset"
        ),
    )
    op.create_index("dataset_views_by_owner", "dataset_views", ["owner", "number"])
    op.create_table(
        "artifacts",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("reference_count", sa.Integer, nullable=False),
    )


def _create_job_tables() -> None:
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
