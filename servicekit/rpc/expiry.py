"""Ends waits at a point in time, at little cost for each of many."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

Result = TypeVar("Result")


class Expired(Exception):
    """The deadline has come."""


class Expiry:
    """One timer for all waits of a task up to a deadline.

    `asyncio.timeout_at` around each wait sets and clears a timer every time, which costs a stream of many small
    messages a fifth of its time.
    """

    def __init__(self, deadline: float) -> None:
        """`deadline` is on the clock of the event loop."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancellations = task.cancelling()
        self._is_waiting = False
        self._has_struck = False
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_at(deadline, self._strike)

    async def wait(self, step: Awaitable[Result]) -> Result:
        """Waits for a step of the task that made this. Raises Expired at the deadline, and at once after it."""
        if self._is_over:
            raise Expired
        self._is_waiting = True
        try:
            return await step
        except asyncio.CancelledError:
            if self._has_struck and self._task.uncancel() <= self._cancellations:
                raise Expired from None
            raise  # somebody else cancelled the task
        finally:
            self._is_waiting = False

    def close(self) -> None:
        """Nothing more is to be waited for."""
        self._timer.cancel()

    def _strike(self) -> None:
        self._is_over = True
        if self._is_waiting:
            self._has_struck = True
            self._task.cancel()


class Expiries:
    """One timer for the waits of all tasks that have the same deadline.

    A timer that is set and cleared for each call costs a short call a twentieth of its time.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix seconds."""
        self._clock = clock
        self._groups: dict[datetime, _Group] = {}

    async def wait(self, deadline: datetime, step: Awaitable[Result]) -> Result:
        """Waits for a step of the current task. Raises Expired at the deadline if it is not done."""
        group = self._groups.get(deadline)
        if group is None:
            group = self._groups[deadline] = _Group()
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + deadline.timestamp() - self._clock(), self._strike, deadline)
        task = asyncio.current_task()
        assert task is not None
        cancellations = task.cancelling()
        group.tasks.add(task)
        try:
            return await step
        except asyncio.CancelledError:
            if group.has_struck and task.uncancel() <= cancellations:
                raise Expired from None
            raise  # somebody else cancelled the task
        finally:
            group.tasks.discard(task)

    def _strike(self, deadline: datetime) -> None:
        group = self._groups.pop(deadline)
        group.has_struck = True
        for task in group.tasks:
            task.cancel()


@dataclass(slots=True)
class _Group:
    """The tasks that wait at most until the same moment."""

    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    has_struck: bool = False
