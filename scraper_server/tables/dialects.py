"""How the rows of a text file are delimited: found out from its beginning, and where a row and a line end."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Others, such as spaces and colons, are in too many texts to be taken without being asked for.
CANDIDATES = (",", "\t", ";", "|")
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 256 * 1024
# Cells as long as any limit; Python's own is 128 KiB.
csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Dialect:
    """How cells are set apart, in ASCII characters. `comment` begins lines that are none of the table, if it is set.

    As in all programs that read such files, a quote is one only at the beginning of a cell, twice within quotes it
    stands for itself, and what follows the closing one belongs to the cell as it is.
    """

    delimiter: str
    quote: str = '"'
    comment: str = ""

    def rows(self, text: str) -> Iterator[list[str]]:
        """The rows of a text; an empty list for each empty line."""
        return csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter, quotechar=self.quote)

    def row_ends(self, text: bytes) -> Iterator[tuple[int, bool]]:
        """Where each row or comment ends, after its line break, and whether it is a comment.

        Text after the last line break is not among them, nor is a row whose quotes are not closed.
        """
        position = 0
        while match := self._row.match(text, position):
            position = match.end()
            yield position, match.lastgroup == "comment"

    def last_row_end(self, text: bytes) -> int:
        """Where the last whole row of a text ends that begins with a row; 0 if it holds none."""
        newline = b"\n" if b"\n" in text else b"\r"
        if self.quote.encode() not in text:
            return text.rfind(newline, 0, -1 if newline == b"\r" else None) + 1
        quotes = self._plain_quotes(text)
        if quotes is None:
            return max((end for end, _ in self.row_ends(text)), default=0)
        end = len(text) - (newline == b"\r")
        while (found := text.rfind(newline, 0, end)) >= 0:
            before = int(np.searchsorted(quotes, found))
            if before % 2 == 0:
                return found + 1
            end = int(quotes[before - 1])  # the line break is within quotes, which open here
        return 0

    def open_quote(self, text: bytes) -> int | None:
        """Where the quote opens, in a text that begins with a row, that is not closed; None if all are."""
        position = 0
        while match := self._field.match(text, position):
            if match.end() == len(text):
                return None
            position = match.end()
        return position

    def without_comments(self, text: bytes) -> bytes:
        """Whole rows with nothing on the lines of comments."""
        if not self.comment or self.comment.encode() not in text:
            return text
        kept, position = [], 0
        for end, is_comment in self.row_ends(text):
            kept.append(b"\n" if is_comment else text[position:end])
            position = end
        return b"".join([*kept, text[position:]])

    def _plain_quotes(self, text: bytes) -> "np.ndarray[tuple[int], np.dtype[np.int64]] | None":
        """Where the quotes are, if it is sure that every second one opens a cell and the others close it."""
        bytes_of = np.frombuffer(text, np.uint8)
        quote = ord(self.quote)
        quotes = np.flatnonzero(bytes_of == quote)
        opening, closing = quotes[0::2], quotes[1::2]
        before = np.where(opening > 0, bytes_of[np.maximum(opening - 1, 0)], ord("\n"))
        after = np.where(closing + 1 < len(text), bytes_of[np.minimum(closing + 1, len(text) - 1)], ord("\n"))
        edges = np.zeros(256, np.bool_)
        edges[[ord(self.delimiter), ord("\n"), ord("\r"), quote]] = True
        if self.comment or not edges[before].all() or not edges[after].all():
            return None
        doubled = before == quote
        # A quote before an opening one must be the closing one of a pair that stands for a quote.
        return quotes if np.all(opening[doubled] - 1 == closing[np.flatnonzero(doubled) - 1]) else None

    @cached_property
    def _row(self) -> "re.Pattern[bytes]":
        field, delimiter = self._field_text, re.escape(self.delimiter)
        row = f"{field}(?:{delimiter}{field})*+(?:\r\n|\n|\r(?!\\Z))"
        comment = f"(?P<comment>{re.escape(self.comment)}[^\r\n]*+(?:\r\n|\n|\r(?!\\Z)))|" if self.comment else ""
        return re.compile((comment + row).encode())

    @cached_property
    def _field(self) -> "re.Pattern[bytes]":
        """A field or comment with what ends it."""
        comment = f"(?<![^\r\n]){re.escape(self.comment)}[^\r\n]*+(?:\r\n|\n|\r|\\Z)|" if self.comment else ""
        return re.compile(f"{comment}{self._field_text}(?:{re.escape(self.delimiter)}|\r\n|\n|\r|\\Z)".encode())

    @property
    def _field_text(self) -> str:
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        quoted = f"{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}"
        return f"(?:{quoted}|(?!{quote}))[^{delimiter}\r\n]*+"


def detect_dialect(sample: str, wanted: Dialect, is_tabbed: bool) -> Dialect:
    """The dialect that cuts the first rows of a file most evenly; what `wanted` has is not questioned.

    `sample` are whole rows, but for the last one. With `is_tabbed` tabs are preferred.
    """
    lines = sample if len(sample) < SAMPLE_CHARACTERS else sample[: sample.rfind("\n") + 1] or sample
    if wanted.comment:
        lines = re.sub(rf"(?m)^{re.escape(wanted.comment)}.*$", "", lines)
    delimiters = (wanted.delimiter,) if wanted.delimiter else ("\t", *CANDIDATES) if is_tabbed else CANDIDATES
    best = Dialect(wanted.delimiter or ",", wanted.quote or '"', wanted.comment)
    best_score = (0.0, 0)
    for delimiter in delimiters:
        candidate = Dialect(delimiter, wanted.quote or _quote(lines, delimiter), wanted.comment)
        score = _evenness(lines, candidate)
        if score > best_score:
            best, best_score = candidate, score
    if best_score[1] or wanted.quote:
        return best
    return Dialect(best.delimiter, _quote(lines, best.delimiter), best.comment)


def _quote(sample: str, delimiter: str) -> str:
    """The apostrophe if it stands around cells and no quote does, else the quote."""
    edge = re.escape(delimiter)
    if re.search(rf'(?m)(?:^|{edge})"', sample):
        return '"'
    opened = len(re.findall(rf"(?m)(?:^|{edge})'", sample))
    whole = len(re.findall(rf"(?m)(?:^|{edge})'(?:[^']|'')*'(?={edge}|\r?$)", sample))
    return "'" if opened and opened == whole else '"'


def _evenness(sample: str, dialect: Dialect) -> tuple[float, int]:
    """The share of rows with the commonest number of cells, and that number; (0, 0) if that is one."""
    widths: Counter[int] = Counter()
    try:
        for row in dialect.rows(sample):
            widths[len(row)] += bool(row)
            if widths.total() == SAMPLE_ROWS:
                break
    except csv.Error:
        return 0.0, 0
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return (round(count / widths.total(), 2), width) if width > 1 else (0.0, 0)
