"""Parses blocks of delimited text into columns of strings, and deals with rows of another length than the header's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from scraper_server.tables.arrow import Array, plain, taken, whole
from scraper_server.tables.blocks import Block
from scraper_server.tables.dialects import Dialect


@dataclass(frozen=True)
class RaggedRow:
    """A row with another number of cells than the header: its place among the rows of its block, and its text."""

    position: int
    width: int
    text: str


@dataclass(frozen=True)
class BlockRows:
    """The rows of a block as columns of text, null where a cell is empty.

    `left_out` are the rows that are not among them, by their places in the block, in order.
    """

    columns: Sequence[Array]
    ragged: tuple[RaggedRow, ...]
    left_out: tuple[int, ...]

    def __len__(self) -> int:
        """How many rows the columns have."""
        return len(self.columns[0])

    def line(self, block: Block, position: int) -> int:
        """The line of a row of the columns."""
        for place in self.left_out:
            position += place <= position
        return block.lines[position]


class RowParser:
    """Parses blocks of one file, in as many threads at once as one likes."""

    def __init__(self, width: int, dialect: Dialect, fills: bool) -> None:
        """For rows with `width` cells. With `fills` shorter rows get missing cells, and longer ones lose some."""
        self._width = width
        self._dialect = dialect
        self._fills = fills
        self._names = [str(position) for position in range(width)]
        self._convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(self._names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            check_utf8=False,  # blocks are UTF-8
        )

    def parse(self, text: bytes) -> BlockRows:
        """The rows of a block."""
        found: list[RaggedRow] = []

        def see(row: pa_csv.InvalidRow) -> Literal["skip"]:
            found.append(RaggedRow((row.number or 0) - 1, row.actual_columns, row.text))
            return "skip"

        columns = self._columns(text, see)
        blank = tuple(row.position for row in found if not row.text.strip())  # as good as empty, and no row
        ragged = tuple(row for row in found if row.text.strip())
        if self._fills and ragged:
            places = _places(len(columns[0]), [row.position for row in ragged], blank)
            filled = self._filled([row.text for row in ragged])
            columns = [taken(pa.concat_arrays(both), places) for both in zip(columns, filled, strict=True)]
            return BlockRows(columns, ragged, blank)
        return BlockRows(columns, ragged, tuple(row.position for row in found))

    def _columns(self, text: bytes, see: Callable[[pa_csv.InvalidRow], Literal["skip"]]) -> list[Array]:
        if not text.strip(b"\r\n"):
            return [pa.array([], pa.string()) for _ in self._names]
        table = pa_csv.read_csv(
            cast(Any, pa.BufferReader(text)),
            read_options=pa_csv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(text) + 1),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._dialect.delimiter,
                quote_char=self._dialect.quote,
                newlines_in_values=True,
                invalid_row_handler=see,
            ),
            convert_options=self._convert,
        )
        return [whole(plain(column)) for column in table.columns]

    def _filled(self, rows: Sequence[str]) -> list[Array]:
        """Ragged rows as columns."""
        width = self._width
        cut = [(next(self._dialect.rows(row)) + [""] * width)[:width] for row in rows]
        cells = ([cell or None for cell in column] for column in zip(*cut, strict=True))
        return [pa.array(column, pa.string()) for column in cells]


def _places(whole_count: int, ragged: Sequence[int], blank: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where to take each row of a block from, if its whole rows are followed by its ragged ones."""
    count = whole_count + len(ragged) + len(blank)
    is_whole = np.ones(count, np.bool_)
    is_whole[[*ragged, *blank]] = False
    source = np.zeros(count, np.int64)
    source[is_whole] = np.arange(whole_count)
    source[list(ragged)] = whole_count + np.arange(len(ragged))
    is_whole[list(ragged)] = True
    return source[is_whole]
