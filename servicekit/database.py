"""One service's database: SQLite by default, PostgreSQL for several replicas."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, TypeDecorator, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from servicekit import migrations

# SQLite waits this long for another writer before it gives up; writes here take milliseconds.
BUSY_TIMEOUT_MILLISECONDS = 30_000


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time. SQLite forgets the zone of what it stores; everything in Flare is UTC, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses times without a zone, which would be read as somebody's local time."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"time {value!r} has no zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Gives the zone back."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class Database:
    """A pool of connections; `write` and `read` are one transaction each."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet. `url` is SQLAlchemy's, such as `sqlite+aiosqlite:///DIR/ml.db`."""
        self.url = url
        self._engine = _engine(url)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may write; committed when the block ends, rolled back when it raises."""
        async with self._engine.connect() as connection:
            # SQLite's writers take the lock at once: a reader that turns writer midway could only fail.
            await connection.execution_options(begin_immediate=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees one state of the database."""
        async with self._engine.connect() as connection:
            await connection.execution_options(begin_immediate=False)
            async with connection.begin():
                yield connection

    async def migrate(self, scripts: str) -> None:
        """Brings the schema up to date with the Alembic scripts of a package folder, such as `ml_server:migrations`."""
        async with self._engine.connect() as connection:
            await connection.run_sync(migrations.upgrade, scripts)

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()


def _engine(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # sqlite3's own BEGIN would come too late
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # A commit survives the death of the process; FULL makes it survive that of the machine too.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        immediate = connection.get_execution_options().get("begin_immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
