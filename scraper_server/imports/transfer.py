"""A download under way that several jobs wait for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from scraper_server.sources.source import Progress


class Transfer:
    """Goes on as long as one job waits for it, whoever began it."""

    def __init__(self, owner: str, work: Callable[[Progress], Awaitable[Path]]) -> None:
        """Begins `work`. `owner` is who the source is asked as."""
        self.owner = owner
        self._newest: tuple[int, int] | None = None
        self._bells = set[asyncio.Event]()
        self._task = asyncio.ensure_future(work(self._told))
        # If all who waited have left, nobody else looks at how it ends.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def is_wanted(self) -> bool:
        """False once all have left who waited for it: then it is about to end."""
        return bool(self._bells)

    async def ended(self) -> None:
        """Waits for the end, whatever that is."""
        await asyncio.wait({self._task})

    async def result(self, progress: Progress) -> Path:
        """Waits for the file, and passes progress on meanwhile. Ends the download if nobody else waits for it."""
        bell = asyncio.Event()
        self._bells.add(bell)
        self._task.add_done_callback(lambda _: bell.set())
        try:
            while True:
                bell.clear()
                if self._newest is not None:
                    await progress(*self._newest)
                if self._task.done():
                    return self._task.result()
                await bell.wait()
        finally:
            self._bells.discard(bell)
            if not self._bells and not self._task.done():
                self._task.cancel()
                await self.ended()

    async def _told(self, done_bytes: int, total_bytes: int) -> None:
        self._newest = (done_bytes, total_bytes)
        for bell in self._bells:
            bell.set()
