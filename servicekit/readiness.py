"""Whether a server can do its work now: not while it drains, and not while its database is away."""

import asyncio

import structlog
from sqlalchemy import select

from servicekit.database import Database

log = structlog.get_logger()

DATABASE_SECONDS = 2.0


class Readiness:
    """Starts when the server does, and is the first to hear of its drain."""

    def __init__(self, database: Database, check_seconds: float = 5.0) -> None:
        """`check_seconds` is how often the server looks, and changes what it says of its health."""
        self.check_seconds = check_seconds
        self._database = database
        self._is_running = False
        self._asked: asyncio.Task[bool] | None = None

    async def start(self) -> None:
        """The server takes calls from now on."""
        self._is_running = True

    async def drain(self) -> None:
        """It takes them for little longer."""
        self._is_running = False

    async def check(self) -> bool:
        """True if work can be done. Those who ask at the same time share one question to the database."""
        if not self._is_running:
            return False
        asked = self._asked
        if asked is None or asked.done():
            asked = self._asked = asyncio.create_task(self._database_answers())
        # Waiting longer than this is an answer too. The question is left alone: a driver may be deaf to its end.
        await asyncio.wait([asked], timeout=DATABASE_SECONDS)
        return asked.done() and asked.result()

    async def _database_answers(self) -> bool:
        try:
            async with self._database.read() as connection:
                await connection.execute(select(1))
        except Exception as error:  # drivers fail in their own ways
            log.warning("database_away", error=str(error))
            return False
        return True
