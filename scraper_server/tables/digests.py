"""The digest of a table's content: equal for equal tables, whatever file they came from."""

import hashlib
import json
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels
from scraper_server.tables.schema import Column


class TableDigest:
    """sha256 over the columns' names and types and over every value, fed rows in batches of any size."""

    def __init__(self, width: int) -> None:
        """`width` is the number of columns."""
        self._columns = [_ColumnDigest() for _ in range(width)]
        self._row_count = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Takes the next rows."""
        for digest, cells in zip(self._columns, rows.columns, strict=True):
            digest.add(cells, self._row_count)
        self._row_count += len(rows)

    def hexdigest(self, columns: tuple[Column, ...]) -> str:
        """The digest of what was added, hexadecimal, of columns that are known by now."""
        described = [[each.name, each.type.value, *(astuple(each.image) if each.image else ())] for each in columns]
        whole = hashlib.sha256(json.dumps(["flare-table-2", self._row_count, described], ensure_ascii=True).encode())
        for column in self._columns:
            whole.update(column.digest())
        return whole.hexdigest()


class _ColumnDigest:
    """Where its nulls are, how long its strings are, and its values, each hashed apart.

    So it makes no difference where one batch ends and the next begins.
    """

    def __init__(self) -> None:
        self._nulls, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def add(self, cells: Array, first_row: int) -> None:
        if cells.null_count:
            missing = np.flatnonzero(kernels.is_null(cells).to_numpy(zero_copy_only=False))
            self._nulls.update((missing + first_row).astype("<i8", copy=False).data)
            cells = cells.drop_null()
        if not len(cells):
            return
        if pa.types.is_string(cells.type):
            _, offsets, data = cells.buffers()
            assert offsets is not None
            ends = np.frombuffer(memoryview(offsets), np.int32)[cells.offset : cells.offset + len(cells) + 1]
            self._lengths.update(np.diff(ends).astype("<i4", copy=False).data)
            if data is not None:
                self._values.update(memoryview(data)[ends[0] : ends[-1]])
        elif pa.types.is_fixed_size_binary(cells.type):
            width, data = cells.type.byte_width, cells.buffers()[1]
            assert data is not None
            self._values.update(memoryview(data)[width * cells.offset : width * (cells.offset + len(cells))])
        else:
            self._values.update(_bytes(cells).data)

    def digest(self) -> bytes:
        return self._nulls.digest() + self._lengths.digest() + self._values.digest()


def _bytes(cells: Array) -> npt.NDArray[Any]:
    """The values as an array in one byte order."""
    if pa.types.is_boolean(cells.type):
        return cells.to_numpy(zero_copy_only=False).view(np.uint8)
    if pa.types.is_floating(cells.type):
        # -0.0 equals 0.0, and so should the digests of tables that hold one or the other.
        return (cells.to_numpy() + 0.0).astype("<f8", copy=False)
    return cells.cast(pa.int64()).to_numpy().astype("<i8", copy=False)
