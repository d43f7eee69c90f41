"""The port of the store of upload sessions. Owners see their own; others' answer as missing ones do."""

from typing import Protocol

from scraper_server.uploads.session import UploadSession
from servicekit.errors import NotFound, Reason
from servicekit.idempotency import RequestKey


class UploadSessionStore(Protocol):
    """Keeps what was announced. The bytes lie in a folder, which alone knows how many there are."""

    async def made_by(self, request: RequestKey | None) -> UploadSession | None:
        """The session that the same request made, None if it made none. Raises REQUEST_ID_REUSED."""
        ...

    async def create(self, session: UploadSession, request: RequestKey | None = None) -> UploadSession:
        """Keeps a session, or returns the one that the same request made a moment before."""
        ...

    async def get(self, owner: str, session_id: str) -> UploadSession:
        """An owner's session. Raises NotFound."""
        ...

    async def everyone(self) -> list[UploadSession]:
        """The sessions of all owners, oldest first."""
        ...

    async def announced_bytes(self, owner: str) -> int:
        """The bytes of all files that an owner has announced."""
        ...

    async def set_whole(self, session: UploadSession, sha256: str) -> None:
        """Says that the file is there and is what was announced. Does nothing if the session is gone."""
        ...

    async def delete(self, owner: str, session_id: str) -> None:
        """Forgets a session, and the request that made it, which then makes another one. Raises NotFound."""
        ...


def no_such_session(session_id: str) -> NotFound:
    """What a caller gets who asks for a session that is not there, or is somebody else's."""
    name = f"uploadSessions/{session_id}"
    return NotFound(Reason.NOT_FOUND, f"no upload session '{name}'", resource=name)
