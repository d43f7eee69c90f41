"""Cuts a text file into blocks of whole rows, in UTF-8, however it is encoded."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scraper_server.tables.dialects import Dialect
from scraper_server.tables.encodings import UTF8, Undecodable
from scraper_server.tables.refusals import cell_too_large, not_a_table

BLOCK_BYTES = 4 << 20
# A row of the widest tables; a line that is longer still is none.
LONGEST_ROW_BYTES = 64 << 20


@dataclass(frozen=True)
class Block:
    """Whole rows of a file, without comments. `end` is the place in the file up to which it was read for them."""

    text: bytes
    first_line: int
    end: int
    dialect: Dialect

    @cached_property
    def lines(self) -> tuple[int, ...]:
        """The line of each row, empty lines left out."""
        found, line, position = [], self.first_line, 0
        for end, _ in self.dialect.row_ends(self.text):
            if self.text[position:end].strip(b"\r\n"):
                found.append(line)
            line += line_count(self.text[position:end])
            position = end
        return tuple(found)

    def split(self, position: int) -> "tuple[Block, Block]":
        """The rows before a place in the text, and the others."""
        head, rest = self.text[:position], self.text[position:]
        return (
            Block(head, self.first_line, self.end, self.dialect),
            Block(rest, self.first_line + line_count(head), self.end, self.dialect),
        )


class TextBlocks:
    """A text file as blocks; begins anew with each iteration."""

    def __init__(
        self,
        path: Path,
        encoding: str,
        dialect: Dialect,
        name: str,
        max_cell_bytes: int,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """`name` is what messages call the file."""
        self._path = path
        self._encoding = encoding
        self._dialect = dialect
        self._name = name
        self._max_cell_bytes = max_cell_bytes
        self._block_bytes = block_bytes

    def __iter__(self) -> Iterator[Block]:
        """The blocks, in order.

        Raises:
            Undecodable: A byte does not fit the encoding.
            InvalidArgument: FILE_NOT_A_TABLE, if a quote is never closed, or a line is too long to be a row.
            ResourceExhausted: CELL_TOO_LARGE, if a quoted cell goes on and on.
        """
        waiting = b""
        line = 1
        for text, end, is_last in self._texts():
            waiting += text
            if is_last and waiting and not waiting.endswith(b"\n"):
                waiting += b"\n"
            cut = self._dialect.last_row_end(waiting)
            if cut:
                whole = waiting[:cut]
                yield Block(self._dialect.without_comments(whole), line, end, self._dialect)
                line += line_count(whole)
                waiting = waiting[cut:]
            if waiting and (is_last or len(waiting) > min(self._max_cell_bytes, LONGEST_ROW_BYTES)):
                self._check(waiting, line, is_last)

    def _texts(self) -> Iterator[tuple[bytes, int, bool]]:
        """The text in UTF-8, without its byte order mark, each with its end in the file and whether it is the last."""
        # Other encodings may be cut within a character, which their decoder remembers.
        decoder = None if self._encoding == UTF8 else codecs.getincrementaldecoder(self._encoding)()
        done, kept = 0, b""
        with self._path.open("rb") as file:
            while True:
                chunk = file.read(self._block_bytes)
                is_last = len(chunk) < self._block_bytes
                try:
                    if decoder is None:
                        text, kept = _whole_characters(kept + chunk, is_last)
                    else:
                        text = decoder.decode(chunk, final=is_last).encode()
                except UnicodeDecodeError as error:
                    raise Undecodable(done - len(kept) + error.start, self._encoding) from error
                if not done:
                    text = text.removeprefix(codecs.BOM_UTF8)
                done += len(chunk)
                yield text, done, is_last
                if is_last:
                    return

    def _check(self, waiting: bytes, line: int, is_last: bool) -> None:
        """Refuses what is not becoming a row."""
        opened = self._dialect.open_quote(waiting)
        if opened is not None:
            at = line + line_count(waiting[:opened])
            if is_last:
                why = (
                    f"the quote that opens in line {at} is never closed; close it, or say in format.quote what stands "
                    "around cells"
                )
                raise not_a_table(self._name, why)
            if len(waiting) - opened > self._max_cell_bytes:
                which = f"whose quote opens in line {at}, and may never be closed,"
                raise cell_too_large(self._name, which, self._max_cell_bytes)
        if len(waiting) > LONGEST_ROW_BYTES:
            why = f"line {line} is longer than {LONGEST_ROW_BYTES >> 20} MiB; is it text with rows?"
            raise not_a_table(self._name, why)


def line_count(text: bytes) -> int:
    """How many lines end in a text, whatever they end with."""
    if b"\r" not in text:
        return text.count(b"\n")
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _whole_characters(text: bytes, is_last: bool) -> tuple[bytes, bytes]:
    """UTF-8 that was checked, and the beginning of a character at its end. Raises UnicodeDecodeError."""
    if text.isascii():
        return text, b""
    cut = len(text)
    if not is_last:
        # A character has at most 4 bytes, and only its first is not 0b10......
        while cut > len(text) - 4 and text[cut - 1] & 0xC0 == 0x80:
            cut -= 1
        cut -= text[cut - 1] >= 0xC0
    codecs.utf_8_decode(text[:cut], "strict", True)
    return text[:cut], text[cut:]
