"""Ends a wait at a point in time, at little cost for each of many waits."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

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
