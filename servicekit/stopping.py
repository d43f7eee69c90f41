"""Work in a thread that ends soon after nobody waits for it any more."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Nobody waits for the result."""


class Stopping:
    """Asked between two pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def stop(self) -> None:
        """From now on `check` raises."""
        self._event.set()

    def check(self) -> None:
        """Raises Stopped once the work is to end."""
        if self._event.is_set():
            raise Stopped


async def in_thread(work: Callable[[Stopping], T]) -> T:
    """Runs work in a thread. A caller that is cancelled goes on when the work has ended, within a piece of it."""
    stopping = Stopping()
    running = asyncio.ensure_future(asyncio.to_thread(work, stopping))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopping.stop()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # Stopped, which nobody needs to hear of
        raise
