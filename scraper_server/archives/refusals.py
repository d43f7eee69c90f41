"""Why an archive is refused, and which exceptions of the libraries mean that one is damaged."""

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from servicekit.errors import InvalidArgument, Reason

# What zipfile, gzip, bz2, lzma, zlib and Arrow raise at damaged bytes, or at what they don't know.
_RAISED = (
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    OSError,
)
# A read at a place that can't be is asked for by damaged bytes; other numbers are about the disk.
_ERRNOS = (None, errno.EINVAL)


def unreadable(what: str, why: str) -> InvalidArgument:
    """The error for an archive, or a file in one, that can't be unpacked."""
    return InvalidArgument(Reason.FILE_NOT_A_TABLE, f"{what} can't be unpacked: {why}", file=what)


def unsafe(name: str, why: str) -> InvalidArgument:
    """The error for an archive that is encrypted or wants to write where it should not."""
    return InvalidArgument(Reason.ARCHIVE_UNSAFE, f"archive '{name}' is not opened: {why}", file=name)


@contextmanager
def damage_told(what: str) -> Iterator[None]:
    """Turns what a library raises at damaged bytes into FILE_NOT_A_TABLE; `what` is what messages call the file."""
    try:
        yield
    except _RAISED as error:
        if isinstance(error, OSError) and error.errno not in _ERRNOS:
            raise
        raise unreadable(what, f"it is damaged or not whole ({error})") from error
