"""Whether a server can do its work now: not while it drains, and not while its database is away."""

import asyncio

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from servicekit.database import Database

DATABASE_SECONDS = 2.0


class Readiness:
    """A component among the last to start, so that it is among the first to hear of a drain."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_running = False

    async def start(self) -> None:
        """The server takes calls from now on."""
        self._is_running = True

    async def drain(self) -> None:
        """It takes no more of them."""
        self._is_running = False

    async def check(self) -> bool:
        """True if work can be done; asks the database for nothing but an answer."""
        if not self._is_running:
            return False
        try:
            async with asyncio.timeout(DATABASE_SECONDS), self._database.read() as connection:
                await connection.execute(select(1))
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        return True
