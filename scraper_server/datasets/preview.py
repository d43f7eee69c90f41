"""Some rows of a table as text, to be looked at."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scraper_server.tables.arrow import kernels, plain
from scraper_server.tables.cells import as_text
from scraper_server.tables.lookup import find_column
from scraper_server.tables.schema import Column
from servicekit.images.encoding import thumbnail_png
from servicekit.images.shape import ImageShape

CELL_CHARACTERS = 200
DEFAULT_COLUMNS = 100
# Pixels of the longer side of an image that is shown.
PREVIEW_SIDE = 128
# A preview ends early when its text is so long: an answer must fit into one message.
PREVIEW_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class Cell:
    """A value as text, None if missing; `truncated` if the text is only its beginning. `png` is an image, small."""

    text: str | None
    truncated: bool = False
    png: bytes = b""


@dataclass(frozen=True)
class Preview:
    """Rows from `start_row` on, a cell for each of `columns`."""

    columns: tuple[Column, ...]
    start_row: int
    rows: tuple[tuple[Cell, ...], ...]
    total_row_count: int
    total_column_count: int


def preview_table(
    path: Path, columns: tuple[Column, ...], start_row: int, row_count: int, wanted: tuple[str, ...]
) -> Preview:
    """Reads the rows asked for, and no more of the file than it must. Past the end there are none.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND.
    """
    shown = tuple(find_column(columns, name, f"columns[{at}]") for at, name in enumerate(wanted))
    shown = shown or columns[:DEFAULT_COLUMNS]
    positions = {column.name: at for at, column in enumerate(columns)}
    with pq.ParquetFile(path, memory_map=True) as file:
        total = file.metadata.num_rows
        table = _rows(file, start_row, row_count, sorted({positions[column.name] for column in shown}))
    cells = [_cells(table, column) for column in shown]
    rows = tuple(zip(*cells, strict=True))
    return Preview(
        columns=tuple(column.without_statistics() for column in shown),
        start_row=start_row,
        rows=rows[: _fitting(rows)],
        total_row_count=total,
        total_column_count=len(columns),
    )


def _rows(file: pq.ParquetFile, start: int, count: int, positions: list[int]) -> pa.Table:
    tables: list[pa.Table] = []
    first = 0
    for group in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        begin, end = max(start - first, 0), min(start + count - first, size)
        first += size
        if begin < end:
            # By position, for the dots in names.
            read = file.reader.read_row_group(group, column_indices=positions)
            tables.append(read.slice(begin, end - begin))
    if tables:
        return pa.concat_tables(tables)
    schema = file.schema_arrow
    return pa.schema([schema.field(at) for at in positions]).empty_table()


def _cells(table: pa.Table, column: Column) -> list[Cell]:
    if column.image is not None:
        return [_image_cell(pixels, column.image) for pixels in table[column.name].to_pylist()]
    # Cut before they become Python's: a cell may have megabytes.
    begun = kernels.utf8_slice_codeunits(as_text(plain(table[column.name])), 0, CELL_CHARACTERS + 1)
    texts = (None if text is None else str(text) for text in begun.to_pylist())
    return [Cell(None) if text is None else Cell(text[:CELL_CHARACTERS], len(text) > CELL_CHARACTERS) for text in texts]


def _image_cell(pixels: bytes | None, shape: ImageShape) -> Cell:
    if pixels is None:
        return Cell(None)
    return Cell(str(shape), png=thumbnail_png(pixels, shape, PREVIEW_SIDE))


def _fitting(rows: tuple[tuple[Cell, ...], ...]) -> int:
    """How many rows may be shown; at least one."""
    characters = 0
    for count, row in enumerate(rows):
        characters += sum(len(cell.text or "") + len(cell.png) + 4 for cell in row)
        if characters > PREVIEW_CHARACTERS:
            return max(count, 1)
    return len(rows)
