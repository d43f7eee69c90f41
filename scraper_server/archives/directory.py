"""The directory at the end of a ZIP archive, walked without reading it into memory."""

import struct
from typing import IO

from scraper_server.archives.refusals import damage_told, unreadable

_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MARK = b"PK\x06\x06"
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MARK = b"PK\x06\x07"
_ENTRY_MARK = b"PK\x01\x02"
# The end stands behind everything but a comment of at most 64 KiB.
_TAIL_BYTES = _END.size + 0xFFFF


def entry_count(file: IO[bytes], name: str, at_most: int) -> int:
    """How many entries an archive really has, or `at_most` + 1 if they are more. What it says of that is not believed.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if its end is missing.
    """
    what = f"archive '{name}'"
    with damage_told(what):
        start, end = _bounds(file, what)
        file.seek(start)
        count = 0
        while start < end and count <= at_most:
            header = file.read(46)
            if len(header) < 46 or not header.startswith(_ENTRY_MARK):
                break  # zipfile will say what is wrong
            skipped = sum(struct.unpack_from("<3H", header, 28))
            file.seek(skipped, 1)
            start += 46 + skipped
            count += 1
        return count


def _bounds(file: IO[bytes], what: str) -> tuple[int, int]:
    """Where the directory begins and ends. Bytes before the archive, as of a program, move it."""
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise unreadable(what, "its end is missing; is it whole?")
    *_, length, _, _ = _END.unpack_from(tail, at)
    end = size - len(tail) + at
    locator = file.seek(end - _LOCATOR.size) if end >= _LOCATOR.size + _END64.size else None
    if locator is not None and file.read(4) == _LOCATOR_MARK:
        file.seek(locator - _END64.size)
        found = _END64.unpack(file.read(_END64.size))
        if found[0] == _END64_MARK:
            end, length = locator - _END64.size, found[8]
    return max(end - length, 0), end
