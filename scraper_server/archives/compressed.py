"""What wraps a file, told by its first bytes; and files compressed with gzip or Zstandard."""

import gzip
from enum import StrEnum
from pathlib import Path
from typing import cast

import pyarrow as pa

from scraper_server.archives.outflow import BytesDone, Content, Outflow, counted, write_out
from scraper_server.archives.refusals import damage_told
from scraper_server.limits import ArchiveLimits


class Wrapping(StrEnum):
    """What a file is wrapped in."""

    GZIP = "gzip"
    ZIP = "zip"
    ZSTD = "zstd"


# An archive without any file has only its end. A Zstandard file may begin with one of 16 kinds of frame to be skipped.
_MARKS: tuple[tuple[bytes, Wrapping], ...] = (
    (b"\x1f\x8b", Wrapping.GZIP),
    (b"PK\x03\x04", Wrapping.ZIP),
    (b"PK\x05\x06", Wrapping.ZIP),
    (b"\x28\xb5\x2f\xfd", Wrapping.ZSTD),
    *((bytes((0x50 + kind, 0x2A, 0x4D, 0x18)), Wrapping.ZSTD) for kind in range(16)),
)


def wrapping_of(path: Path) -> Wrapping | None:
    """What the file is wrapped in, by its content and not by its name. Spreadsheets are ZIP archives too."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((wrapping for mark, wrapping in _MARKS if head.startswith(mark)), None)


def decompress(path: Path, name: str, wrapping: Wrapping, limits: ArchiveLimits, target: Path, done: BytesDone) -> None:
    """Writes what comes out of a file compressed with GZIP or ZSTD, in one part or several, to `target`.

    `done` takes the compressed bytes that are done with.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if the file is damaged or not whole.
        ResourceExhausted: ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE.
    """
    what = f"file '{name}'"
    outflow = Outflow(what, limits, path.stat().st_size)
    with path.open("rb") as file:
        with damage_told(what):
            content = (
                gzip.GzipFile(fileobj=file)
                if wrapping is Wrapping.GZIP
                else pa.CompressedInputStream(file, compression="zstd")
            )
        write_out(counted(cast(Content, content), what, outflow), target, lambda: done(file.tell()))
