"""Keeps JSON that is nested too deeply from the parser, which builds it level by level until its stack overflows."""

import codecs
from typing import IO

import numpy as np

# Deeper than any table, and far less deep than what the parser stands.
MOST_LEVELS = 100
_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


class TooDeep(Exception):  # no fault of ours
    """The JSON is nested more than MOST_LEVELS levels deep."""


class ShallowJson:
    """The bytes of a JSON file in UTF-8, up to the place where it becomes too deep: there `read` raises TooDeep."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._depth = 0
        self._is_in_string = False
        self._backslashes = b""

    def read(self, size: int) -> bytes:
        """The next bytes, whose depth was looked at."""
        is_first = self._file.tell() == 0
        chunk = self._file.read(size)
        if is_first:
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        self._see(chunk)
        return chunk

    def _see(self, chunk: bytes) -> None:
        text = self._backslashes + chunk
        whole = text.rstrip(b"\\")
        self._backslashes = text[len(whole) :] if chunk else b""
        # Backslashes are in strings only, and without their pairs every quote that is left begins or ends one.
        pieces = whole.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(pieces[int(self._is_in_string) :: 2]).translate(None, _OTHERS)
        self._is_in_string ^= len(pieces) % 2 == 0
        depths = np.cumsum(_STEPS[np.frombuffer(outside, np.uint8)], dtype=np.int64) + self._depth
        if len(depths):
            if depths.max() > MOST_LEVELS:
                raise TooDeep
            self._depth = int(depths[-1])
