"""The tables of this service's database."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from servicekit.database import UtcDateTime
from servicekit.idempotency import request_table
from servicekit.jobs.tables import job_tables

metadata = MetaData()

requests = request_table(metadata)
jobs = job_tables(metadata)
sweeps = job_tables(metadata, prefix="sweep_")
batch_predictions = job_tables(metadata, prefix="batch_prediction_")

models = Table(
    "models",
    metadata,
    Column("uid", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("id", String, nullable=False),
    Column("display_name", String, nullable=False),
    Column("specification", JSON, nullable=False),
    Column("has_initial_weights", Boolean, nullable=False),
    Column("latest_version", BigInteger, nullable=False),
    # Counts on when the latest version is deleted: a number is never given twice.
    Column("last_number", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    UniqueConstraint("owner", "id"),
    Index("models_by_owner", "owner", "create_time", "uid"),
)

versions = Table(
    "model_versions",
    metadata,
    Column("model_uid", String, ForeignKey("models.uid", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("details", JSON, nullable=False),
    # A job that is run again after it made its version finds that version instead of making another.
    Column("training_job", String, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("artifact", String, nullable=False),
)

aliases = Table(
    "model_aliases",
    metadata,
    Column("model_uid", String, ForeignKey("models.uid", ondelete="CASCADE"), primary_key=True),
    Column("alias", String, primary_key=True),
    Column("version", BigInteger, nullable=False),
    # Pairs of version and weight; empty: `version` has all.
    Column("shares", JSON, nullable=False),
    Column("shadow_version", BigInteger, nullable=False),
)
