"""The store of upload sessions on SQL. Each method is one transaction."""

from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from scraper_server.sql_tables import requests
from scraper_server.sql_tables import upload_sessions as sessions
from scraper_server.uploads.session import UploadSession
from scraper_server.uploads.store import no_such_session
from servicekit.database import Database
from servicekit.idempotency import RequestKey, remember, remembered
from servicekit.uploads import Announcement


class SqlUploadSessionStore:
    """Keeps the rules that UploadSessionStore states."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def made_by(self, request: RequestKey | None) -> UploadSession | None:
        """As UploadSessionStore says."""
        async with self._database.read() as connection:
            known = await remembered(connection, requests, request)
            if request is None or known is None:
                return None
            found = await connection.execute(select(sessions).where(_named(request.owner, known)))
            return _session(found.one())

    async def create(self, session: UploadSession, request: RequestKey | None = None) -> UploadSession:
        """As UploadSessionStore says."""
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(sessions).values(_row(session)))
                await remember(connection, requests, request, session.id)
                return session
        except IntegrityError:
            known = await self.made_by(request)
            if known is None:
                raise
            return known

    async def get(self, owner: str, session_id: str) -> UploadSession:
        """As UploadSessionStore says."""
        async with self._database.read() as connection:
            found = await connection.execute(select(sessions).where(_named(owner, session_id)))
        row = found.one_or_none()
        if row is None:
            raise no_such_session(session_id)
        return _session(row)

    async def everyone(self) -> list[UploadSession]:
        """As UploadSessionStore says."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(sessions).order_by(sessions.c.create_time))
            return [_session(row) for row in rows]

    async def announced_bytes(self, owner: str) -> int:
        """As UploadSessionStore says."""
        query = select(func.coalesce(func.sum(sessions.c.size_bytes), 0)).where(sessions.c.owner == owner)
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def set_whole(self, session: UploadSession, sha256: str) -> None:
        """As UploadSessionStore says."""
        async with self._database.write() as connection:
            found = _named(session.owner, session.id)
            await connection.execute(update(sessions).where(found).values(whole_sha256=sha256))

    async def delete(self, owner: str, session_id: str) -> None:
        """As UploadSessionStore says."""
        async with self._database.write() as connection:
            if not (await connection.execute(delete(sessions).where(_named(owner, session_id)))).rowcount:
                raise no_such_session(session_id)
            made = and_(requests.c.owner == owner, requests.c.resource == session_id)
            await connection.execute(delete(requests).where(made))


def _named(owner: str, session_id: str) -> ColumnElement[bool]:
    return and_(sessions.c.owner == owner, sessions.c.id == session_id)


def _row(session: UploadSession) -> dict[str, Any]:
    return {
        "owner": session.owner,
        "id": session.id,
        "file_name": session.announced.file_name,
        "size_bytes": session.announced.size_bytes,
        "sha256": session.announced.sha256,
        "whole_sha256": session.whole_sha256,
        "create_time": session.create_time,
    }


def _session(row: Row[Any]) -> UploadSession:
    return UploadSession(
        owner=row.owner,
        id=row.id,
        announced=Announcement(row.file_name, row.size_bytes, row.sha256),
        create_time=row.create_time,
        whole_sha256=row.whole_sha256,
    )
