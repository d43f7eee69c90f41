"""Columns of raw values as preprocessing takes them, from an Arrow table in training and from a request in serving."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MISSING = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ColumnType(StrEnum):
    """What kind of values a column holds; the names are the contract's in lower case."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    CATEGORICAL = "categorical"
    TEXT = "text"
    IMAGE = "image"

    @property
    def is_textual(self) -> bool:
        """True if its values are strings."""
        return self in (ColumnType.CATEGORICAL, ColumnType.TEXT)


@dataclass(frozen=True)
class NumberColumn:
    """N numbers, float64, NaN where missing. Booleans are 0 and 1, points in time microseconds since 1970."""

    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class TextColumn:
    """N strings: row i holds `values[codes[i]]`, or none where the code is MISSING."""

    values: Sequence[str]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class ImageColumn:
    """N images, uint8: blocks (rows, height x width x channels), which may lie in a file that is mapped into memory."""

    blocks: Sequence[NDArray[np.uint8]]

    @cached_property
    def _starts(self) -> list[int]:
        """The first row of each block, and the number of rows."""
        return [0, *accumulate(map(len, self.blocks))]

    def __len__(self) -> int:
        return self._starts[-1]

    def between(self, start: int, end: int) -> "ImageColumn":
        """The images of these rows; nothing is copied."""
        found = []
        for at in range(bisect_right(self._starts, start) - 1, len(self.blocks)):
            first = self._starts[at]
            if first >= end:
                break
            found.append(self.blocks[at][max(start - first, 0) : end - first])
        return ImageColumn(found)


Column = NumberColumn | TextColumn | ImageColumn
Columns = Mapping[str, Column]


def arrow_column(column: "pa.ChunkedArray[Any]", column_type: ColumnType) -> Column:
    """A column of an Arrow table."""
    if column_type is ColumnType.IMAGE:
        return ImageColumn([_image_block(chunk) for chunk in column.chunks])
    if column_type.is_textual:
        # The stubs know nothing of dictionary arrays.
        encoded: Any = column.cast(pa.string()).combine_chunks().dictionary_encode()
        codes = pc.fill_null(encoded.indices, MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
        return TextColumn(encoded.dictionary.to_pylist(), codes)
    if column_type is ColumnType.DATETIME:
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    # Unsafe: whole numbers above 2^53 are rounded, as those of a prediction are, instead of refused.
    return NumberColumn(column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=False))


def _image_block(images: "pa.Array[Any]") -> NDArray[np.uint8]:
    """Images as they lie in Arrow's memory, (rows, bytes of an image)."""
    size = images.type.byte_width
    _, data = images.buffers()
    pixels = np.frombuffer(memoryview(data) if data is not None else b"", dtype=np.uint8)
    return pixels[images.offset * size : (images.offset + len(images)) * size].reshape(len(images), size)


def microseconds_of(text: str) -> float:
    """Microseconds since 1970 of a point in time in ISO 8601, in UTC unless it says otherwise. Raises ValueError."""
    time = datetime.fromisoformat(text.strip())
    return float(((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND)


def text_of(value: float, column_type: ColumnType) -> str:
    """How a number of a column reads as a category: `3` for an integer 3.0, `true` for a boolean 1.0."""
    if column_type is ColumnType.BOOLEAN:
        return "true" if value else "false"
    return str(int(value)) if column_type is ColumnType.INTEGER else repr(float(value))


def as_text(column: Column, column_type: ColumnType) -> TextColumn:
    """The column as categories."""
    if isinstance(column, TextColumn):
        return column
    assert isinstance(column, NumberColumn)
    is_missing = np.isnan(column.values)
    distinct, codes = np.unique(np.where(is_missing, 0.0, column.values), return_inverse=True)
    return TextColumn([text_of(value, column_type) for value in distinct], np.where(is_missing, MISSING, codes))
