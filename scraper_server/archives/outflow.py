"""Counts the bytes that come out of an archive, and ends a bomb."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from scraper_server.archives.refusals import damage_told
from scraper_server.limits import MEBIBYTE, ArchiveLimits
from servicekit.errors import Reason, ResourceExhausted

CHUNK_BYTES = MEBIBYTE

BytesDone = Callable[[int], None]
"""Takes the compressed bytes that are done with."""


class Outflow:
    """What has come out of a compressed file, or out of one of its members, whose bytes count for `whole` too."""

    def __init__(self, what: str, limits: ArchiveLimits, packed_bytes: int, whole: "Outflow | None" = None) -> None:
        """`packed_bytes` is the compressed size as found on the disk; `what` is what messages call it."""
        self._what = what
        self._limits = limits
        self._packed_bytes = max(packed_bytes, 1)
        self._whole = whole
        self._count = 0

    def add(self, count: int) -> None:
        """Takes so many bytes more.

        Raises:
            ResourceExhausted: ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE.
        """
        self._count += count
        limits = self._limits
        if self._count > limits.max_bytes:
            message = f"{self._what} unpacks to more than {limits.max_bytes} bytes, the limit of this server "
            raise ResourceExhausted(Reason.ARCHIVE_TOO_LARGE, message + "(FLARE_SCRAPER_MAX_ARCHIVE_BYTES)")
        if self._count > limits.ratio_from_bytes and self._count > limits.max_ratio * self._packed_bytes:
            message = (
                f"{self._what} unpacks to more than {limits.max_ratio} times its {self._packed_bytes} bytes, as bombs "
                "do: upload it unpacked if it is none (FLARE_SCRAPER_MAX_ARCHIVE_RATIO)"
            )
            raise ResourceExhausted(Reason.ARCHIVE_TOO_DENSE, message)
        if self._whole is not None:
            self._whole.add(count)


class Content(Protocol):
    """What comes out of a library that decompresses."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...

    def close(self) -> None:
        """Lets go of the file."""
        ...


class _Counted(io.RawIOBase):
    """The same bytes, counted as they come; damage is told as such."""

    def __init__(self, content: Content, what: str, outflow: Outflow, step_bytes: int) -> None:
        self._content = content
        self._what = what
        self._outflow = outflow
        self._step_bytes = step_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # what a BufferedReader passes
        with damage_told(self._what):
            chunk = self._content.read(min(len(buffer), self._step_bytes))
        self._outflow.add(len(chunk))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._content.close()
        super().close()


def counted(content: Content, what: str, outflow: Outflow, step_bytes: int = CHUNK_BYTES) -> io.BufferedReader:
    """A reader of `content` that takes `step_bytes` of it at a time, and closes it.

    Its reads raise ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE, and FILE_NOT_A_TABLE at damage.
    """
    return io.BufferedReader(_Counted(content, what, outflow, step_bytes), step_bytes)


def write_out(content: io.BufferedReader, target: Path, told: Callable[[], None]) -> None:
    """Writes all that a reader brings to the file `target`, and closes it; `told` is called after each step."""
    with content, target.open("wb") as out:
        while chunk := content.read(CHUNK_BYTES):
            out.write(chunk)
            told()
