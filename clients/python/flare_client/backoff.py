"""How long to wait before trying again."""

from __future__ import annotations

import random
import time

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 5.0


class Patience:
    """Counts failures in a row and says how long to wait after each, until too long without success."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the time after the last success at which it ends."""
        self._seconds = seconds
        self._failures = 0
        self._last_success = time.monotonic()

    def succeeded(self) -> None:
        """Begins anew."""
        self._failures = 0
        self._last_success = time.monotonic()

    def next_wait(self, asked_for: float | None = None) -> float | None:
        """Seconds to wait after one more failure, None if it is time to give up.

        Waits double from 0.2 s to 5 s with jitter, so that clients of a restarted server do not come all at once; a
        wait that the server asked for is kept to.
        """
        self._failures += 1
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self._failures - 1, 10))
        wait = max(random.uniform(0.5, 1.0) * longest, asked_for or 0.0)  # noqa: S311  # nothing secret
        left = self._last_success + self._seconds - time.monotonic()
        return wait if wait <= left else None
