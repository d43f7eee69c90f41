"""ZIP archives as a hostile or careless hand makes them, which zipfile would not write."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file in an archive, with all that can be said of it wrongly. None: as it is."""

    name: bytes
    content: bytes = b""
    flags: int = 0
    mode: int = 0
    """As in `stat`."""
    method: int = zlib.DEFLATED
    declared_size: int | None = None
    crc: int | None = None
    offset: int | None = None
    packed: bytes | None = None


def zip_bytes(entries: Sequence[Entry], declared_count: int | None = None) -> bytes:
    """The archive."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        offset = len(body) if entry.offset is None else entry.offset
        packed = entry.packed
        if packed is None:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            packed = packer.compress(entry.content) + packer.flush() if entry.method else entry.content
        size = len(entry.content) if entry.declared_size is None else entry.declared_size
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        common = struct.pack(
            "<5H3L2H", 20, entry.flags, entry.method, 0, 33, crc, len(packed), size, len(entry.name), 0
        )
        if entry.offset is None:
            body += b"PK\x03\x04" + common + entry.name + packed
        directory += b"PK\x01\x02" + struct.pack("<BB", 20, 3) + common
        directory += struct.pack("<3H2L", 0, 0, 0, entry.mode << 16, offset) + entry.name
    count = min(len(entries) if declared_count is None else declared_count, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + end)
