"""Removes upload sessions that nobody went on with."""

import asyncio

import structlog

from scraper_server.uploads.folder import UploadFolder
from scraper_server.uploads.sessions import UploadSessions

log = structlog.get_logger()

INTERVAL_SECONDS = 600.0


class UploadHousekeeping:
    """Looks at the start of the server, and then every ten minutes."""

    def __init__(self, sessions: UploadSessions, folder: UploadFolder) -> None:
        self._sessions = sessions
        self._folder = folder
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes the folder and removes what expired while no server ran."""
        await asyncio.to_thread(self._folder.make)
        await self._sessions.remove_expired()
        self._looking = asyncio.create_task(self._look_forever())

    async def drain(self) -> None:
        """Looks no more, and ends the streams under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._sessions.drain()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self._sessions.remove_expired()
            except Exception:  # a store out of reach: the next look may find it
                log.exception("upload_housekeeping_failed")
