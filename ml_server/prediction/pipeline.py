"""Items that are worked on several at a time, with answers in their order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Limits:
    """What a pipeline may hold: items that are worked on, or wait until those before them are taken."""

    items: int
    size_bytes: int
    """A larger item is alone in it."""


class _Held(Generic[Answer]):
    """What is in flight, first in, first out."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._answers: asyncio.Queue[tuple[asyncio.Future[Answer], int] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Future[Answer]] = set()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def room(self, size_bytes: int) -> None:
        """Waits until an item of this size may come in."""
        while self._tasks and (
            len(self._tasks) >= self._limits.items or self._bytes + size_bytes > self._limits.size_bytes
        ):
            self._changed.clear()
            await self._changed.wait()

    def put(self, answer: asyncio.Future[Answer], size_bytes: int) -> None:
        """Takes the next item's answer."""
        self._tasks.add(answer)
        self._bytes += size_bytes
        self._answers.put_nowait((answer, size_bytes))

    def end(self) -> None:
        """No more come."""
        self._answers.put_nowait(None)

    async def taken(self) -> AsyncGenerator[Answer]:
        """The answers in order. An item is in flight until the one behind it is asked for."""
        while (first := await self._answers.get()) is not None:
            answer, size_bytes = first
            yield await answer
            self._tasks.discard(answer)
            self._bytes -= size_bytes
            self._changed.set()

    async def cancel(self) -> None:
        """Ends all that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def in_order(
    items: AsyncIterator[Item],
    work: Callable[[Item], Awaitable[Answer]],
    size_of: Callable[[Item], int],
    limits: Limits,
) -> AsyncGenerator[Answer]:
    """The answer of `work` for each item. The next items are read and worked on while earlier ones are.

    A failure, of the items themselves too, comes after the answers of the items before it, and ends the others. So does
    closing this generator.
    """
    held: _Held[Answer] = _Held(limits)

    async def feed() -> None:
        try:
            async for item in items:
                size_bytes = size_of(item)
                await held.room(size_bytes)
                held.put(asyncio.ensure_future(work(item)), size_bytes)
        except Exception as error:
            failed: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            held.put(failed, 0)
        held.end()

    feeding = asyncio.ensure_future(feed())
    try:
        async with aclosing(held.taken()) as answers:
            async for answer in answers:
                yield answer
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        await held.cancel()
