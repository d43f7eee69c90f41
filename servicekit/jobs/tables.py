"""The tables of durable jobs. Each service that has jobs has them in its own database."""

from dataclasses import dataclass

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, false

from servicekit.database import UtcDateTime
from servicekit.idempotency import request_table


@dataclass(frozen=True)
class JobTables:
    """The tables that one service's job store writes."""

    jobs: Table
    attempts: Table
    events: Table
    requests: Table


def job_tables(metadata: MetaData, prefix: str = "") -> JobTables:
    """Adds the job tables to a service's metadata, and the table of remembered requests if it has none yet.

    Each kind of job has tables of its own: the names of all but the first kind's begin with a `prefix`.
    """
    requests = metadata.tables.get("requests")
    if requests is None:
        requests = request_table(metadata)
    jobs = Table(
        f"{prefix}jobs",
        metadata,
        Column("id", String, primary_key=True),
        Column("owner", String, nullable=False),
        Column("spec", JSON, nullable=False),
        Column("state", String, nullable=False),
        Column("progress", JSON(none_as_null=True)),
        Column("result", JSON(none_as_null=True)),
        Column("error", JSON(none_as_null=True)),
        Column("attempt", Integer, nullable=False),
        Column("lost_attempts", Integer, nullable=False),
        Column("max_attempts", Integer, nullable=False),
        Column("last_sequence", BigInteger, nullable=False),
        Column("runner", String),
        Column("lease_until", UtcDateTime),
        Column("create_time", UtcDateTime, nullable=False),
        Column("start_time", UtcDateTime),
        Column("end_time", UtcDateTime),
        Column("priority", Integer, nullable=False, server_default="0"),
        Column("keeps_result", Boolean, nullable=False, server_default=false()),
        Column("resource", String, nullable=False, server_default=""),
        Index(f"{prefix}jobs_by_owner", "owner", "create_time", "id"),
        Index(f"{prefix}jobs_by_state", "state", "priority", "create_time"),
    )
    attempts = Table(
        f"{prefix}job_attempts",
        metadata,
        Column("job_id", String, ForeignKey(f"{prefix}jobs.id", ondelete="CASCADE"), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("runner", String, nullable=False),
        Column("start_time", UtcDateTime, nullable=False),
        Column("end_time", UtcDateTime),
        Column("error", JSON(none_as_null=True)),
    )
    events = Table(
        f"{prefix}job_events",
        metadata,
        Column("job_id", String, ForeignKey(f"{prefix}jobs.id", ondelete="CASCADE"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True),
        Column("time", UtcDateTime, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("kind", String, nullable=False),
        Column("payload", JSON, nullable=False),
    )
    return JobTables(jobs, attempts, events, requests)
