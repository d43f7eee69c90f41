"""How far a thread is, as a task on the event loop hears of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


class Told:
    """The newest bytes done and in all that a thread told. A task that is slower than the thread skips some."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._newest: tuple[int, int] | None = None

    def tell(self, done_bytes: int, total_bytes: int) -> None:
        """Called by the thread."""
        self._loop.call_soon_threadsafe(self._set, (done_bytes, total_bytes))

    async def until(self, work: asyncio.Future[Any]) -> AsyncIterator[tuple[int, int]]:
        """Yields what is told until `work`, which the thread does, has ended; the last thing told is among it."""
        work.add_done_callback(lambda _: self._changed.set())
        while True:
            await self._changed.wait()
            self._changed.clear()
            newest, self._newest = self._newest, None
            if newest is not None:
                yield newest
            if work.done():
                return

    def _set(self, newest: tuple[int, int]) -> None:
        self._newest = newest
        self._changed.set()
