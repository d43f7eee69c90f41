"""How fast a download has to get on, so that neither a cut nor a trickle of bytes keeps an import for ever."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LeastPace:
    """Whatever brings less than this has not got on."""

    bytes_per_second: float = 512
    """A tenth of what a telephone line brought: at less, a megabyte takes an hour."""
    window_seconds: float = 60
    """A connection is judged by so long a time, in which a network that stumbles has come back."""


class Pace:
    """Watches the bytes of one download, whose connections may break.

    A connection that brings too little for a whole window is given up like one that broke. A connection that broke
    gives back the tries of a download that got on at the least pace since they were last given back, waits included,
    however few bytes each connection brought; one that brings a byte now and then uses them up.
    """

    def __init__(self, least: LeastPace, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = least
        self._clock = clock
        self._mark = self._window = (clock(), 0)

    def connected(self, size: int) -> None:
        """Bytes come from now on, after the `size` that are there."""
        self._window = (self._clock(), size)

    def started(self, size: int) -> None:
        """The download begins with `size` bytes, or anew."""
        self._mark = (self._clock(), size)
        self.connected(size)

    def waited(self, seconds: float) -> None:
        """The source asked for this wait, so it does not count."""
        self._mark = (self._mark[0] + seconds, self._mark[1])

    def is_too_slow(self, size: int) -> bool:
        """Whether the connection, now at `size` bytes, brought too few of them in the window that ended."""
        began, size_then = self._window
        spent = self._clock() - began
        if spent < self._least.window_seconds:
            return False
        self.connected(size)
        return size - size_then < self._least.bytes_per_second * spent

    def has_got_on(self, size: int) -> bool:
        """Whether the download, now at `size` bytes, kept the least pace since this was last so."""
        marked, size_then = self._mark
        spent = max(self._clock() - marked, 1.0)
        if size - size_then < self._least.bytes_per_second * spent:
            return False
        self._mark = (self._clock(), size)
        return True
