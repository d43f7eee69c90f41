"""Bounds what images take while they are decoded, however many threads decode them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# At most eight bytes a pixel for the steps of a decoding: 256 MiB in all, unless one image alone takes more.
PIXELS_AT_A_TIME = 32 << 20


class PixelBudget:
    """So many pixels at a time. One image that has more waits until it is alone."""

    def __init__(self, pixels: int = PIXELS_AT_A_TIME) -> None:
        self._left = self._all = pixels
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Waits until so many pixels are free, and holds them while the block runs."""
        held = min(pixels, self._all)
        with self._freed:
            self._freed.wait_for(lambda: held <= self._left)
            self._left -= held
        try:
            yield
        finally:
            with self._freed:
                self._left += held
                self._freed.notify_all()
