"""Small calls that come close together, answered together: each of them alone would cost more than the network does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")

MAX_CALLS = 64
# What calls wait for others, by the time that the event loop has nothing else to do.
WAIT_SECONDS = 500e-6
# What they wait with it, while it reads other calls and writes answers: these have come, and only have to be seen.
OPEN_SECONDS = 2e-3
# A turn of the event loop that takes longer has done something.
IDLE_TURN_SECONDS = 50e-6
# What comes later than this after others came or were answered comes alone: to write a group's answers takes as long.
CLOSE_SECONDS = 2e-3
# Fewer calls than this are answered as fast one by one.
PAYING_CALLS = 3
# So often in a row there may be fewer: while answers are written, nobody can come.
PATIENCE = 4
MAX_LEFT_ALONE = 1024


@dataclass(eq=False, slots=True)
class Call(Generic[Request, Answer]):
    """A request that waits; whoever is gone by the time that its turn comes is not answered."""

    request: Request
    answer: asyncio.Future[Answer]


@dataclass(slots=True)
class Gathering(Generic[Request, Answer]):
    """Calls of one kind. Whether to wait for more is tried: seldom while nobody else comes, always while many do."""

    answer_all: Callable[[list[Call[Request, Answer]]], None]
    """Settles the answer of each of them, at least one; does not raise."""
    most_calls: int = MAX_CALLS
    _calls: list[Call[Request, Answer]] = field(default_factory=list)
    _came: float = 0.0
    _left_alone: int = 0
    _misses: int = 0

    def takes(self) -> bool:
        """True if the call that has just come is to wait for others, by `answer`."""
        now = time.perf_counter()
        before, self._came = self._came, now
        if self._calls:
            return True
        if now - before > CLOSE_SECONDS or self.most_calls < PAYING_CALLS:
            return False
        if self._left_alone:
            self._left_alone -= 1
            return False
        return True

    def answer(self, request: Request) -> Awaitable[Answer]:
        """The answer, with those of the calls that come, or are seen to have come, while the first one waits."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._calls.append(Call(request, future))
        if len(self._calls) == 1:
            loop.call_soon(self._look, self._calls, self._came, self._came, 0.0)
        if len(self._calls) >= self.most_calls:
            self._close()
        return future

    def _look(self, calls: list[Call[Request, Answer]], opened: float, looked: float, idle: float) -> None:
        # Turn by turn: timers of event loops are no finer than a millisecond.
        if calls is not self._calls:
            return
        now = time.perf_counter()
        if now - looked < IDLE_TURN_SECONDS:
            idle += now - looked
        if idle < WAIT_SECONDS and now - opened < OPEN_SECONDS:
            asyncio.get_running_loop().call_soon(self._look, calls, opened, now, idle)
        else:
            self._close()

    def _close(self) -> None:
        calls, self._calls = self._calls, []
        if len(calls) >= PAYING_CALLS:
            self._misses = 0
        else:
            self._misses = min(self._misses + 1, PATIENCE + MAX_LEFT_ALONE.bit_length())
            self._left_alone = min(1 << self._misses - PATIENCE, MAX_LEFT_ALONE) if self._misses >= PATIENCE else 0
        if waiting := [call for call in calls if not call.answer.done()]:
            self.answer_all(waiting)
        self._came = time.perf_counter()
