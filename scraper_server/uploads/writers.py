"""One stream at a time writes to a session: a later one ends the one before."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from servicekit.errors import Aborted, Reason, Unavailable
from servicekit.waiting import uninterrupted

T = TypeVar("T")


class Writers:
    """The streams under way, by what they write to."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[object]] = {}
        self._draining = False

    async def run(self, name: str, write: Callable[[], Awaitable[T]]) -> T:
        """Returns `write()`, begun after the stream before it has ended.

        Raises:
            Aborted: UPLOAD_TAKEN_OVER, if a later stream for `name` began meanwhile, or `end` was called.
            Unavailable: SHUTTING_DOWN, if the server drains.
        """
        writing = asyncio.create_task(_after(self._running.get(name), write))
        self._running[name] = writing
        try:
            return await writing
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._running.get(name) is writing or (caller is not None and caller.cancelling()):
                raise  # not a later stream but our own caller went away
            if self._draining:
                message = "the server is draining: what has arrived is kept; ask GetUploadSession where to go on"
                raise Unavailable(Reason.SHUTTING_DOWN, message, retry_after_seconds=1) from None
            raise Aborted(
                Reason.UPLOAD_TAKEN_OVER,
                f"another stream for '{name}' began, or it was deleted: what has arrived is kept for that one; "
                "let just one at a time send, and ask GetUploadSession where to go on",
                resource=name,
            ) from None
        finally:
            if self._running.get(name) is writing:
                del self._running[name]

    def is_writing(self, name: str) -> bool:
        """True if a stream is under way."""
        return name in self._running

    async def end(self, name: str) -> None:
        """Ends the stream of `name` and waits for that, if there is one."""
        await _ended(self._running.pop(name, None))

    async def drain(self) -> None:
        """Ends all of them."""
        self._draining = True
        await asyncio.gather(*(self.end(name) for name in list(self._running)))


async def _after(earlier: "asyncio.Task[object] | None", write: Callable[[], Awaitable[T]]) -> T:
    await _ended(earlier)
    return await write()


async def _ended(task: "asyncio.Task[object] | None") -> None:
    if task is not None:
        task.cancel()
        # To its very end, even if a third stream ends this one: what it took must be in the file before others look.
        await uninterrupted(asyncio.wait([task]))
