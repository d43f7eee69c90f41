"""The store of people's credentials on SQL. Each method is one transaction."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update

from scraper_server.credentials.store import no_credentials
from scraper_server.credentials.values import KeptCredentials
from scraper_server.sources.source import SourceKind
from scraper_server.sql_tables import source_credentials as table
from servicekit.database import Database


class SqlCredentialsStore:
    """Keeps the rules that CredentialsStore states."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, kept: KeptCredentials) -> None:
        """As CredentialsStore says."""
        async with self._database.write() as connection:
            await connection.execute(delete(table).where(_named(kept.owner, kept.source)))
            await connection.execute(insert(table).values(_row(kept)))

    async def replace(self, old: KeptCredentials, new: KeptCredentials) -> bool:
        """As CredentialsStore says."""
        same = and_(_named(old.owner, old.source), table.c.sealed == old.sealed)
        async with self._database.write() as connection:
            return bool((await connection.execute(update(table).where(same).values(_row(new)))).rowcount)

    async def find(self, owner: str, source: SourceKind) -> KeptCredentials | None:
        """As CredentialsStore says."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(table).where(_named(owner, source)))).one_or_none()
        return _kept(row) if row is not None else None

    async def delete(self, owner: str, source: SourceKind) -> None:
        """As CredentialsStore says."""
        async with self._database.write() as connection:
            if not (await connection.execute(delete(table).where(_named(owner, source)))).rowcount:
                raise no_credentials(source)

    async def all(self) -> list[KeptCredentials]:
        """As CredentialsStore says."""
        async with self._database.read() as connection:
            return [_kept(row) for row in await connection.execute(select(table))]


def _named(owner: str, source: SourceKind) -> ColumnElement[bool]:
    return and_(table.c.owner == owner, table.c.source == source.value)


def _row(kept: KeptCredentials) -> dict[str, Any]:
    return asdict(kept) | {"source": kept.source.value}


def _kept(row: Row[Any]) -> KeptCredentials:
    return KeptCredentials(row.owner, SourceKind(row.source), row.account, row.update_time, row.sealed)
