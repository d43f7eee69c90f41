"""The tables of the scraper service's database."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
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

# SQLite numbers rows by itself only in a column of its own INTEGER type.
_ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")

datasets = Table(
    "datasets",
    metadata,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("owner", String, nullable=False),
    Column("id", String, nullable=False),
    Column("display_name", String, nullable=False),
    Column("origin", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("statistics", JSON, nullable=False),  # apart from the columns, since lists do without
    Column("format", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("import_job", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    UniqueConstraint("owner", "id", name="datasets_by_name"),
)

dataset_views = Table(
    "dataset_views",
    metadata,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("owner", String, nullable=False),
    Column("dataset_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("display_name", String, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("resolved", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("dataset_digest", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("owner", "dataset_id", "id", name="dataset_views_by_name"),
    ForeignKeyConstraint(["owner", "dataset_id"], ["datasets.owner", "datasets.id"], name="dataset_views_dataset"),
    Index("dataset_views_by_owner", "owner", "number"),
)

upload_sessions = Table(
    "upload_sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("file_name", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("whole_sha256", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Index("upload_sessions_by_owner", "owner"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("key", String, primary_key=True),
    Column("reference_count", Integer, nullable=False),
)

source_credentials = Table(
    "source_credentials",
    metadata,
    Column("owner", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
