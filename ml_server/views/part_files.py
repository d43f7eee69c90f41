"""The rows of a part on this machine: features as one matrix in a NumPy file, other columns in an Arrow file beside it.

Both are mapped into memory: opening them reads nothing, and jobs on the same view share the pages.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from ml_server.features.columns import Column, Columns, ColumnType, NumberColumn, arrow_column
from ml_server.views.values import PartHeader
from servicekit.errors import Internal, Reason

# Where the Arrow file says which columns the matrix has.
FEATURES_KEY = b"flare.features"


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


def read_part(file: Path, types: Mapping[str, ColumnType]) -> Columns:
    """The columns of these names. Numbers of the matrix are views into it."""
    with pa.memory_map(str(file)) as source:
        table = ipc.open_file(source).read_all()
    names: list[str] = json.loads((table.schema.metadata or {}).get(FEATURES_KEY, b"[]"))
    columns: dict[str, Column] = {}
    if names:
        matrix: NDArray[np.float64] = np.asarray(np.load(_matrix_file(file), mmap_mode="r"))
        columns = {name: NumberColumn(matrix[:, at]) for at, name in enumerate(names)}
    return {name: columns[name] if name in columns else arrow_column(table[name], kind) for name, kind in types.items()}


def _matrix_file(file: Path) -> Path:
    return file.with_suffix(".npy")


def _write_matrix_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
