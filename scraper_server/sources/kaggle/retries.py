"""How often and how long to try again, and how blocking work is ended from outside."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import requests

from servicekit.errors import FlareError, Reason

T = TypeVar("T")

WORTH_ANOTHER_TRY = frozenset({Reason.SOURCE_UNAVAILABLE, Reason.SOURCE_RATE_LIMITED})


@dataclass(frozen=True)
class RetryPolicy:
    """Waits grow from try to try and are spread by chance, so that many callers do not come back at once."""

    tries: int = 4
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 20
    longest_asked_wait_seconds: float = 60
    """A source that asks for a longer wait than this is not waited for; the caller is told how long it asked for."""

    def wait_seconds(self, failures: int, error: FlareError) -> float | None:
        """How long to wait after this many failures in a row; None to give up."""
        if error.reason not in WORTH_ANOTHER_TRY or failures >= self.tries:
            return None
        own = min(self.first_wait_seconds * 2.0 ** (failures - 1), self.longest_wait_seconds)
        own *= random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
        asked = error.retry_after_seconds
        if asked is None:
            return own
        return None if asked > self.longest_asked_wait_seconds else asked + own


class Stopped(Exception):
    """The work was ended from outside."""


class Stop:
    """Ends blocking work in a thread from another one: its waits at once, and the body that it reads."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._response: requests.Response | None = None

    def request(self) -> None:
        """Asks the work to end."""
        self._requested.set()
        with self._lock:
            if self._response is not None:
                # Wakes a thread that waits for bytes. A body that was read to its end can't be shut down any more.
                with suppress(ValueError, RuntimeError, OSError):
                    self._response.raw.shutdown()

    @property
    def is_requested(self) -> bool:
        """Whether the work is to end."""
        return self._requested.is_set()

    def check(self) -> None:
        """Raises Stopped if the work is to end."""
        if self._requested.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Waits so long. Raises Stopped as soon as the work is to end."""
        if self._requested.wait(seconds):
            raise Stopped

    @contextmanager
    def reading(self, response: requests.Response) -> Iterator[None]:
        """While the block reads this response, a request to stop ends the reading."""
        with self._lock:
            self._response = response
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._response = None
            response.close()


def retried(policy: RetryPolicy, stop: Stop, call: Callable[[], T]) -> T:
    """The result of `call`, tried again as `policy` says. Raises its last FlareError, or Stopped."""
    failures = 0
    while True:
        stop.check()
        try:
            return call()
        except FlareError as error:
            failures += 1
            wait = policy.wait_seconds(failures, error)
            if wait is None:
                raise
            stop.wait(wait)
