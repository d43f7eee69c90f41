"""One service's database: SQLite by default, PostgreSQL for several replicas."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CursorResult, DateTime, Dialect, TypeDecorator, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from servicekit import migrations
from servicekit.waiting import uninterrupted

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


# A driver's statement runs on, whatever becomes of the task that waits for it. A task that left at once would let go of
# a connection with an open transaction: nobody would end that, and every other writer would wait for it.
class _UninterruptedConnection(AsyncConnection):
    async def execute(self, *args: Any, **kwargs: Any) -> CursorResult[Any]:
        return await uninterrupted(super().execute(*args, **kwargs))


class Database:
    """A pool of connections; `write` and `read` are one transaction each."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet. `url` is SQLAlchemy's, such as `sqlite+aiosqlite:///DIR/ml.db`."""
        self.url = url
        self._engine = _engine(url)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may write; committed when the block ends, rolled back when it raises."""
        # SQLite's writers take the lock at once: a reader that turns writer midway could only fail.
        async with self._transaction(begin_immediate=True) as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees one state of the database."""
        async with self._transaction(begin_immediate=False) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, *, begin_immediate: bool) -> AsyncIterator[AsyncConnection]:
        connection = _UninterruptedConnection(self._engine)
        try:
            await uninterrupted(connection.start())
            await connection.execution_options(begin_immediate=begin_immediate)
            transaction = connection.begin()
            try:
                await uninterrupted(transaction.start())
                yield connection
            except BaseException:
                if transaction.is_active:
                    await uninterrupted(transaction.rollback())
                raise
            await uninterrupted(transaction.commit())
        finally:
            await uninterrupted(connection.close())

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
