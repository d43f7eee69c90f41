"""The progress of work that goes through a file in several stages."""

from scraper_server.tables.reader import BytesDone


class Stages:
    """Tells how much of a file's bytes is done with, though each stage counts bytes of its own. Never goes back."""

    def __init__(self, size_bytes: int, tell: BytesDone) -> None:
        """`tell` takes bytes done of the `size_bytes` that the file has."""
        self._size_bytes = size_bytes
        self._tell = tell
        self._furthest = 0

    def next(self, share: float, total: int) -> BytesDone:
        """What a stage tells its own bytes done to, `total` in all; it takes `share` (0 to 1) of what is left."""
        start = self._furthest
        width = share * (self._size_bytes - start)

        def done(count: int) -> None:
            reached = int(start + width * min(count / max(total, 1), 1))
            self._furthest = max(self._furthest, reached)
            self._tell(self._furthest)

        return done
