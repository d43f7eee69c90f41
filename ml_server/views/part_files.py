"""Files of the rows of a part: features as one matrix in a NumPy file, other columns in an Arrow file beside it."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from ml_server.features.columns import Column, Columns, ColumnType, NumberColumn, arrow_column
from ml_server.views.values import VALUE_BYTES, PartHeader
from servicekit.errors import Internal, Reason

T = TypeVar("T")

# Where the Arrow file says which columns the matrix has.
FEATURES_KEY = b"flare.features"
# What is handed on at a time: enough that Python's part is small, and that of text few words repeat.
CHUNK_BYTES = 4 << 20
CHUNK_ROWS = 16_384
# What is read of a matrix at a time: it stays in the processor's cache until all columns have their part of it.
BLOCK_ROWS = 256


class PartWriter(AbstractContextManager["PartWriter"]):
    """Writes a stream of batches as they come."""

    def __init__(self, file: Path) -> None:
        """Creates nothing before the header is known."""
        self._file = file
        self._open = ExitStack()
        self._header: PartHeader | None = None
        self._rows = 0

    def begin(self, header: PartHeader) -> None:
        """Takes the header, once, or again after a cut."""
        if self._header is not None:
            return
        self._header = header
        self._schema = ipc.read_schema(pa.py_buffer(header.schema))
        names = header.feature_columns
        self._matrix = self._open.enter_context(_matrix_file(self._file).open("wb")) if names else None
        if self._matrix is not None:
            _write_matrix_header(self._matrix, (header.row_count, len(names)))
        others = list(self._schema)[1 if names else 0 :]
        self._others = pa.schema(others, metadata={FEATURES_KEY: json.dumps(names)})
        self._writer = self._open.enter_context(ipc.new_file(str(self._file), self._others))

    def write(self, message: bytes) -> None:
        """Takes the next rows, an Arrow IPC message."""
        rows = ipc.read_record_batch(pa.py_buffer(message), self._schema)
        self._rows += len(rows)
        columns: list[Any] = rows.columns
        if self._matrix is not None:
            self._matrix.write(columns.pop(0).values.to_numpy().data)
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._others))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes the Arrow file's footer. Raises Internal if rows are missing though the stream ended well."""
        self._open.close()
        expected = self._header.row_count if self._header else 0
        if kind is None and self._rows != expected:
            message = f"the scraper service sent {self._rows} of {expected} rows"
            raise Internal(Reason.INTERNAL, message)


@dataclass(frozen=True)
class PartFile:
    """The rows of a part, to be read from the first to the last; `types` names the columns that are wanted."""

    path: Path
    types: Mapping[str, ColumnType]

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        with pa.memory_map(str(self.path)) as source:
            batches = ipc.open_file(source)
            counts: list[int] = [batches.get_batch(index).num_rows for index in range(batches.num_record_batches)]
            return sum(counts)

    def chunks(self) -> Iterator[Columns]:
        """All rows, some megabytes at a time, of which the next ones are read while the caller works on some."""
        return ahead(self._chunks(), "chunks")

    def _chunks(self) -> Iterator[Columns]:
        with pa.memory_map(str(self.path)) as source, ExitStack() as opened:
            others = ipc.open_file(source)
            names: list[str] = json.loads((others.schema.metadata or {}).get(FEATURES_KEY, b"[]"))
            is_read = any(name in self.types for name in names)
            matrix = opened.enter_context(_MatrixReader(_matrix_file(self.path))) if is_read else None
            for table in _tables(others, self._chunk_rows(len(names), others.schema)):
                rows: dict[str, Column] = {}
                if matrix is not None:
                    values = matrix.read(table.num_rows)
                    rows = {name: NumberColumn(values[at]) for at, name in enumerate(names)}
                yield {
                    name: rows[name] if name in rows else arrow_column(table[name], kind)
                    for name, kind in self.types.items()
                }

    def _chunk_rows(self, matrix_columns: int, others: pa.Schema) -> int:
        images: list[int] = [each.type.byte_width for each in others if self.types.get(each.name) is ColumnType.IMAGE]
        row_bytes = VALUE_BYTES * max(matrix_columns, 1) + sum(images)
        return max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes))


def ahead(items: Iterator[T], thread: str) -> Iterator[T]:
    """The items, of which a thread of this name makes the next one while the caller works on one."""
    with ThreadPoolExecutor(1, thread) as maker:
        following = maker.submit(next, items, None)
        while (item := following.result()) is not None:
            following = maker.submit(next, items, None)
            yield item


class _MatrixReader(AbstractContextManager["_MatrixReader"]):
    """Reads a matrix from its first row to its last, which keeps nothing of it in memory, as mapping it would."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        np.lib.format.read_magic(self._file)
        (_, columns), *_ = np.lib.format.read_array_header_1_0(self._file)
        self._block = np.empty((BLOCK_ROWS, columns), np.dtype("<f8"))

    def read(self, rows: int) -> NDArray[np.float64]:
        """The columns of the next rows (columns, N), each in one piece, which all that is done with them needs."""
        columns = np.empty((self._block.shape[1], rows))
        for start in range(0, rows, BLOCK_ROWS):
            block = self._block[: rows - start]
            if self._file.readinto(block.data) != block.nbytes:
                raise EOFError(f"{self._file.name} ends before its last row")
            columns[:, start : start + len(block)] = block.T
        return columns

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _tables(batches: "ipc.RecordBatchFileReader", rows: int) -> Iterator[pa.Table]:
    """All rows, `rows` at a time, without a copy."""
    pieces: list[pa.RecordBatch] = []
    held = 0
    for index in range(batches.num_record_batches):
        batch = batches.get_batch(index)
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, rows - held)
            pieces.append(piece)
            start += piece.num_rows
            held += piece.num_rows
            if held == rows:
                yield pa.Table.from_batches(pieces)
                pieces, held = [], 0
    if pieces:
        yield pa.Table.from_batches(pieces)


def _matrix_file(file: Path) -> Path:
    return file.with_suffix(".npy")


def _write_matrix_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
