"""Reads files of delimited text."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa

from scraper_server.limits import TableLimits
from scraper_server.tables.arrow import kernels, reductions
from scraper_server.tables.blocks import BLOCK_BYTES, Block, TextBlocks, line_count
from scraper_server.tables.dialects import Dialect, detect_dialect
from scraper_server.tables.encodings import Undecodable, guessed_encoding, likely_encoding, sample_text, undecodable
from scraper_server.tables.formats import FileFormat, FormatKind, RaggedRows
from scraper_server.tables.inference import ColumnPart
from scraper_server.tables.names import unique_names
from scraper_server.tables.numbers import FLOAT
from scraper_server.tables.ragged import RaggedTally
from scraper_server.tables.reader import BytesDone, Misread
from scraper_server.tables.readings import Family
from scraper_server.tables.refusals import cell_too_large, empty, not_a_table
from scraper_server.tables.rows import BlockRows, RowParser
from scraper_server.tables.schema import TableWarning, WarningKind
from scraper_server.tables.typed_columns import TypedColumns

# Blocks of wide tables are larger, so that each has some rows to work on at once.
WIDE_COLUMNS = 256
WIDEST_BLOCK_BYTES = 24 << 20
MOST_THREADS = 4

_Parsed = tuple[Block, BlockRows, tuple[ColumnPart, ...]]


class DelimitedFile:
    """A file whose first line holds the names of its columns, unless the format says that it has no such line."""

    def __init__(self, path: Path, wanted: FileFormat, name: str, limits: TableLimits) -> None:
        """Reads the header of the file at `path`; `name` is what messages call it.

        Raises:
            InvalidArgument: FILE_EMPTY if there is no header; FILE_NOT_A_TABLE if it is text in no encoding;
                COLUMN_NOT_FOUND if the format names the type of a column that is not there.
        """
        self._path = path
        self._wanted = wanted
        self._name = name
        self._limits = limits
        encoding = wanted.encoding or guessed_encoding(path, name)
        try:
            self._open(encoding)
        except Undecodable as error:
            self._open(self._other_encoding(error))

    def _open(self, encoding: str) -> None:
        """Reads the header in an encoding."""
        wanted = self._wanted
        is_tabbed = Path(self._name).suffix.lower() in (".tsv", ".tab")
        asked = Dialect(wanted.delimiter, wanted.quote, wanted.comment)
        dialect = detect_dialect(sample_text(self._path, encoding), asked, is_tabbed)
        self._dialect = dialect
        self._encoding = encoding
        cells, self._first_line = self._header(self._blocks(BLOCK_BYTES))
        names, renamed = unique_names([] if wanted.has_no_header else cells)
        if wanted.has_no_header:
            names = tuple(f"column_{position + 1}" for position in range(len(cells)))
        self._header_warnings: tuple[TableWarning, ...] = (*renamed, *self._doubts(cells))
        usual = Family.COMMA if dialect.delimiter == ";" else Family.POINT
        self._columns = TypedColumns(names, wanted, self._name, usual)
        self._parser = RowParser(len(names), dialect, wanted.ragged_rows is RaggedRows.FILL)
        self.columns = self._columns.columns
        self.warnings = self._header_warnings
        self.format = replace(
            wanted,
            kind=FormatKind.DELIMITED,
            delimiter=dialect.delimiter,
            encoding=encoding,
            quote=dialect.quote,
        )

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """The rows, each column in the type that fits all of its cells or was chosen for it.

        Raises:
            Misread: The encoding or a type that the rows so far suggested does not fit later ones.
            InvalidArgument: FILE_NOT_A_TABLE if too many rows have more or fewer cells than the header, or a byte does
                not fit the encoding; FILE_EMPTY if there is no row.
            ResourceExhausted: CELL_TOO_LARGE, with its line.
        """
        try:
            yield from self._pass(done)
        except Undecodable as error:
            self._open(self._other_encoding(error))
            raise Misread from error

    def _pass(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        columns = self._columns
        blocks = self._data_blocks()
        if not columns.is_learned:
            first = next(blocks, None)
            columns.learn(self._parser.parse(first.text if first else b"").columns)
            blocks = chain([first] if first else [], blocks)
        columns.begin()
        row_count = 0
        ragged = RaggedTally(len(columns.columns), self._wanted.ragged_rows, self._name, self._dialect.delimiter)
        for block, rows, parts in self._parsed(blocks):
            ragged.see(block, rows, row_count)
            self._check_cells(block, rows)
            batch = columns.take(parts, row_count, partial(rows.line, block))
            row_count += len(rows)
            done(block.end)
            if batch:
                yield batch
        ragged.end(row_count)
        if not row_count:
            raise empty(self._name, "there is nothing below its header")
        columns.end()
        self.columns = columns.columns
        self.warnings = (*self._header_warnings, *ragged.warnings, *columns.warnings)
        self.format = replace(
            self.format,
            decimal_separator=self._wanted.decimal_separator or columns.decimal_separator,
            thousands_separator=self._wanted.thousands_separator or columns.thousands_separator,
            ragged_rows=self._wanted.ragged_rows or ragged.policy,
        )

    def _parsed(self, blocks: Iterator[Block]) -> Iterator[_Parsed]:
        """The blocks in order, read ahead in several threads: Arrow's work holds no lock."""
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        waiting: deque[Future[_Parsed]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for block in blocks:
                waiting.append(pool.submit(self._read, block))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read(self, block: Block) -> _Parsed:
        try:
            rows = self._parser.parse(block.text)
        except pa.ArrowInvalid as error:
            raise not_a_table(self._name, f"between lines {block.first_line} and {block.lines[-1]}: {error}") from error
        return block, rows, self._columns.read(rows.columns)

    def _blocks(self, block_bytes: int) -> Iterator[Block]:
        return iter(
            TextBlocks(self._path, self._encoding, self._dialect, self._name, self._limits.max_cell_bytes, block_bytes)
        )

    def _header(self, blocks: Iterator[Block]) -> tuple[list[str], int]:
        """The cells of the first row that holds anything, and the line where the rows of the table begin."""
        for block in blocks:
            position, line = 0, block.first_line
            for end, _ in self._dialect.row_ends(block.text):
                text = block.text[position:end]
                after = line + line_count(text)
                if text.strip():
                    return next(self._dialect.rows(text.decode())), line if self._wanted.has_no_header else after
                position, line = end, after
        raise empty(self._name, "it has no line")

    def _data_blocks(self) -> Iterator[Block]:
        """The blocks below the header."""
        width = len(self.columns)
        size = min(WIDEST_BLOCK_BYTES, BLOCK_BYTES * max(1, width // WIDE_COLUMNS))
        for block in self._blocks(size):
            if block.first_line >= self._first_line:
                yield block
                continue
            line = block.first_line
            ends = chain([0], (end for end, _ in self._dialect.row_ends(block.text)))
            for start, end in pairwise(ends):
                line += line_count(block.text[start:end])
                if line >= self._first_line:
                    yield block.split(end)[1]
                    break

    def _check_cells(self, block: Block, rows: BlockRows) -> None:
        limit = self._limits.max_cell_bytes
        if len(block.text) <= limit:
            return
        for column, cells in zip(self.columns, rows.columns, strict=True):
            lengths = kernels.binary_length(cells)
            if (reductions.max(lengths).as_py() or 0) > limit:
                position = kernels.greater(lengths, limit).index(True).as_py()
                which = f"of column '{column.name}' in line {rows.line(block, position)}"
                raise cell_too_large(self._name, which, limit)

    def _doubts(self, header: list[str]) -> Iterator[TableWarning]:
        """A warning if the header looks like a row: half of it are numbers, and not years or the like in order."""
        if self._wanted.has_no_header:
            return
        numbers = [cell for cell in header if FLOAT.read(pa.array([cell.strip()])).fit and cell.strip()]
        in_order = all(float(before) < float(after) for before, after in pairwise(numbers))
        if len(numbers) * 2 >= len(header) and not (in_order and len(numbers) > 1):
            shown = ", ".join(cell.strip() for cell in header[:4])
            message = f"the first line was taken for the header, and looks like a row ({shown}): import with "
            message += "has_no_header if it is one"
            yield TableWarning(WarningKind.AMBIGUOUS, "", message)

    def _other_encoding(self, error: Undecodable) -> str:
        if self._wanted.encoding:
            raise undecodable(self._name, error) from error
        return likely_encoding(self._path, self._name)
