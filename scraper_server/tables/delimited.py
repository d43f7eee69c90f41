"""Reads a UTF-8 file of delimited text, in blocks."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from scraper_server.tables.cells import Reading, cleaned
from scraper_server.tables.delimiters import first_ragged_line, header_of
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.inference import ColumnInference
from scraper_server.tables.names import unique_names
from scraper_server.tables.reader import BytesDone, plain_schema
from scraper_server.tables.refusals import empty, not_a_table
from scraper_server.tables.schema import Column, ColumnType

# No row can be longer than a block.
BLOCK_BYTES = 16 << 20


class DelimitedFile:
    """A file whose first line holds the names of its columns."""

    def __init__(self, path: Path, found: FileFormat, name: str) -> None:
        """Reads the header of the file at `path`, which is UTF-8; `name` is what messages call it.

        Raises:
            InvalidArgument: FILE_EMPTY if there is no header.
        """
        self._path = path
        self._delimiter = found.delimiter
        self._name = name
        self.format = found
        header = header_of(path, found.delimiter)
        if not header:
            raise empty(name, "it has no line")
        self._names, self.warnings = unique_names(header)
        self.columns = tuple(Column(name, ColumnType.TEXT) for name in self._names)

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """The rows, each column in the type that fits all of its cells."""
        readings = self._readings(lambda position: done(position // 2))
        self.columns = tuple(Column(name, reading.type) for name, reading in zip(self._names, readings, strict=True))
        schema = plain_schema(self.columns)
        size = self._path.stat().st_size
        for block in self._strings(lambda position: done((size + position) // 2)):
            arrays = [reading.parse(cells) for reading, cells in zip(readings, block.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _readings(self, done: BytesDone) -> tuple[Reading, ...]:
        """How to read each column, found out from all of its cells.

        Raises:
            InvalidArgument: FILE_NOT_A_TABLE if a row has more or fewer cells than the header; FILE_EMPTY if there is
                no row below the header.
        """
        columns = [ColumnInference() for _ in self._names]
        row_count = 0
        for block in self._strings(done):
            row_count += len(block)
            for inference, cells in zip(columns, block.columns, strict=True):
                inference.see(cells)
        if not row_count:
            raise empty(self._name, "there is nothing below its header")
        return tuple(column.reading for column in columns)

    def _strings(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """The rows as cleaned text."""
        with self._path.open("rb") as file:
            file.seek(_start(self._path))
            try:
                reader = pa_csv.open_csv(
                    file,
                    read_options=pa_csv.ReadOptions(
                        column_names=list(self._names), skip_rows_after_names=1, block_size=BLOCK_BYTES
                    ),
                    parse_options=pa_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                    convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(self._names, pa.string())),
                )
                for block in reader:
                    done(file.tell())
                    arrays = [cleaned(cells) for cells in block.columns]
                    yield pa.RecordBatch.from_arrays(arrays, names=list(self._names))
            except pa.ArrowInvalid as error:
                raise self._refusal(error) from error

    def _refusal(self, error: pa.ArrowInvalid) -> Exception:
        text = str(error)
        width = len(self._names)
        if "straddling" in text:
            return not_a_table(self._name, f"a row is longer than {BLOCK_BYTES >> 20} MiB; is a quote never closed?")
        ragged = first_ragged_line(self._path, self._delimiter, width) if "Expected" in text else None
        if ragged is None:
            return not_a_table(self._name, text)
        line, cells = ragged
        return not_a_table(
            self._name,
            f"line {line} has {cells} cells where the header has {width}; correct the line, or say in format.delimiter "
            f"what separates the cells if it is not {self._delimiter!r}",
        )


def _start(path: Path) -> int:
    """Where the header begins: after the byte order mark and after empty lines."""
    with path.open("rb") as file:
        head = file.read(BLOCK_BYTES)
    mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    blank = len(head[mark:]) - len(head[mark:].lstrip(b"\r\n"))
    return mark + blank
