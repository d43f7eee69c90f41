"""Rows of text cells, kept in a file until the last one has told which columns there are."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa

from scraper_server.limits import TableLimits
from scraper_server.tables.arrow import Array
from scraper_server.tables.refusals import cell_too_large, too_many_columns, too_many_rows

# A block is as large as the first of these lets it be.
BLOCK_CELLS = 500_000
BLOCK_CHARACTERS = 8 << 20
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


def cell_text(value: object) -> str | None:
    """A value as it would stand in a delimited file; None if it is missing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if value - value == 0 else None  # neither NaN nor infinite
    if isinstance(value, datetime):
        return value.isoformat() if value.time() != time() or value.tzinfo else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return repr(value.total_seconds()) if isinstance(value, timedelta) else str(value)


class Spool:
    """Takes rows whose columns come up as they go, each under a key of its own, and gives them back in blocks.

    A column is there as soon as one row has its key; rows without it have a missing cell.
    """

    def __init__(self, path: Path, name: str, limits: TableLimits) -> None:
        """Keeps the rows at `path`; `name` is what messages call the file that they come from."""
        self._path = path
        self._file = pa.OSFile(str(path), "wb")
        self._name = name
        self._limits = limits
        self._positions: dict[Hashable, int] = {}
        self._filled: set[Hashable] = set()
        self._cells: list[list[str | None]] = []
        self._block_rows = 0
        self._characters = 0
        self.row_count = 0

    @property
    def keys(self) -> Sequence[Hashable]:
        """The columns, in the order in which they came up."""
        return tuple(self._positions)

    def is_filled(self, key: Hashable) -> bool:
        """Whether a column has a cell that is not missing."""
        return key in self._filled

    def declare(self, keys: Iterable[Hashable]) -> None:
        """Makes columns be there whether or not a row has them."""
        for key in keys:
            self._position(key)

    def add(self, row: Mapping[Hashable, str | None]) -> None:
        """Takes a row.

        Raises:
            ResourceExhausted: TOO_MANY_ROWS, TOO_MANY_COLUMNS, CELL_TOO_LARGE.
        """
        for key, value in row.items():
            at = self._positions.get(key)
            cells = self._cells[self._position(key) if at is None else at]
            if len(cells) < self._block_rows:
                cells.extend([None] * (self._block_rows - len(cells)))
            cells.append(value)
            if value is not None:
                self._filled.add(key)
                self._characters += len(value)
                if len(value) * 4 > self._limits.max_cell_bytes:
                    self._check_cell(key, value)
        self._block_rows += 1
        self.row_count += 1
        if self.row_count > self._limits.max_rows:
            raise too_many_rows(self._name, self._limits.max_rows)
        if self._characters > BLOCK_CHARACTERS or self._block_rows * len(self._cells) > BLOCK_CELLS:
            self._write()

    def finish(self) -> None:
        """Ends the rows; blocks can be read then."""
        if self._block_rows:
            self._write()
        self._file.close()

    def blocks(self, keys: Sequence[Hashable], told: Callable[[float], None]) -> Iterator[Sequence[Array]]:
        """The rows of some columns, block by block: their cells, as strings. `told` takes the share that was given."""
        positions = [self._positions[key] for key in keys]
        with pa.OSFile(str(self._path), "rb") as file:
            size = file.size()
            while file.tell() < size:
                with pa.ipc.open_stream(file) as stream:
                    block = stream.read_next_batch()
                    missing = pa.nulls(len(block), pa.string())
                    yield [block.column(at) if at < block.num_columns else missing for at in positions]
                    list(stream)  # its end mark
                told(file.tell() / size)

    def _position(self, key: Hashable) -> int:
        at = self._positions.setdefault(key, len(self._positions))
        if at == len(self._cells):
            if at >= self._limits.max_columns:
                raise too_many_columns(self._name, self._limits.max_columns)
            self._cells.append([])
        return at

    def _check_cell(self, key: Hashable, value: str) -> None:
        if len(value.encode(errors="replace")) > self._limits.max_cell_bytes:
            which = f"of column '{key}' in row {self.row_count}"
            raise cell_too_large(self._name, which, self._limits.max_cell_bytes)

    def _write(self) -> None:
        arrays = []
        for cells in self._cells:
            cells.extend([None] * (self._block_rows - len(cells)))
            arrays.append(_strings(cells))
        block = pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])
        # A stream of its own, since each block may have more columns than the one before.
        with pa.ipc.new_stream(self._file, block.schema, options=_COMPRESSED) as stream:
            stream.write_batch(block)
        self._cells = [[] for _ in self._cells]
        self._block_rows = self._characters = 0


def _strings(cells: list[str | None]) -> Array:
    try:
        return pa.array(cells, pa.string())
    except UnicodeEncodeError:  # half of a character of two, which JSON can say and Unicode can't
        whole = [cell and cell.encode("utf-8", "replace").decode() for cell in cells]
        return pa.array(whole, pa.string())
