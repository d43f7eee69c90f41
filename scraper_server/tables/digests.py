"""The digest of a table's content: equal for equal tables, whatever file they came from."""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels
from scraper_server.tables.schema import Column


class TableDigest:
    """sha256 over every value, fed row block by row block, and then over the columns' names and types.

    The blocks' sizes are part of it, so they must depend on nothing but the columns and the number of rows.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"flare-table-2")

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows."""
        self._hash.update(len(batch).to_bytes(8, "little"))
        for array in batch.columns:
            self._hash.update(_bits(kernels.is_valid(array)))
            for part in _value_bytes(array):
                self._hash.update(part)

    def hexdigest(self, columns: tuple[Column, ...]) -> str:
        """The digest of a table with these columns and the rows that were added, hexadecimal."""
        described = json.dumps([[column.name, column.type.value] for column in columns], ensure_ascii=True)
        whole = self._hash.copy()
        whole.update(described.encode())
        return whole.hexdigest()


def _value_bytes(array: Array) -> Iterator[bytes | memoryview]:
    """The values in one byte order, with zero or nothing in the place of nulls."""
    if pa.types.is_string(array.type):
        filled = kernels.fill_null(array, "")
        yield _numbers(kernels.binary_length(filled), "<i4")
        _, offsets, data = filled.buffers()
        if offsets is not None and data is not None:
            ends = np.frombuffer(memoryview(offsets), np.int32)[filled.offset : filled.offset + len(filled) + 1]
            yield memoryview(data)[ends[0] : ends[-1]]
    elif pa.types.is_boolean(array.type):
        yield _bits(kernels.fill_null(array, False))
    elif pa.types.is_floating(array.type):
        # -0.0 equals 0.0, and so should the digests of tables that hold one or the other.
        yield _numbers(kernels.add(kernels.fill_null(array, 0.0), 0.0), "<f8")
    else:
        yield _numbers(kernels.fill_null(kernels.cast(array, pa.int64()), 0), "<i8")


def _numbers(array: Array, kind: str) -> bytes:
    return array.to_numpy().astype(kind).tobytes()


def _bits(array: Array) -> bytes:
    return np.packbits(array.to_numpy(zero_copy_only=False)).tobytes()
