"""What the service does unasked, once a minute."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

log = structlog.get_logger()

INTERVAL_SECONDS = 60


class Housekeeping:
    """A `Component` of the server that does its chores in turn. One that fails is tried again the next time."""

    def __init__(
        self, chores: Sequence[Callable[[], Awaitable[None]]], interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._chores = chores
        self._interval_seconds = interval_seconds
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins; the first round is an interval away."""
        self._task = asyncio.create_task(self._rounds(), name="housekeeping")

    async def drain(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            for chore in self._chores:
                try:
                    await chore()
                except Exception:
                    log.exception("chore_failed", chore=chore.__qualname__)
