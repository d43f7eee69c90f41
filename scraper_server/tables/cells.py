"""Cells as text: what counts as missing, and how a value is written. Everything here works on whole Arrow arrays."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, reductions

# Cells of a text file that hold nothing. Longer lists (`-`, `?`, `none`) would swallow real categories.
MISSING_MARKS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "#N/A")
_MARKS = pa.array(MISSING_MARKS)


def cleaned(strings: Array) -> Array:
    """The cells without surrounding white space, and null where a mark says that they are missing."""
    missing = kernels.is_in(trimmed := kernels.utf8_trim_whitespace(strings), value_set=_MARKS)
    return kernels.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def quickly_cleaned(strings: Array) -> Array:
    """The same for cells of which the empty ones are null already: where no other can be a mark, none is looked up."""
    trimmed = kernels.utf8_trim_whitespace(strings)
    return cleaned(trimmed) if _size(trimmed) != _size(strings) or _may_be_marks(trimmed) else trimmed


class CellBytes:
    """The bytes of the cells of a string array, for looks that a kernel would make a pass of its own for."""

    def __init__(self, strings: Array) -> None:
        _, offsets, data = strings.buffers()
        ends = np.frombuffer(memoryview(offsets), np.int32) if offsets else np.zeros(len(strings) + 1, np.int32)
        self.ends = ends[strings.offset : strings.offset + len(strings) + 1]
        self.data = np.frombuffer(memoryview(data), np.uint8) if data else np.zeros(0, np.uint8)

    def at(self, positions: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """The bytes at these places of the data, or the last one for places behind it."""
        if not self.data.size:
            return np.zeros(len(positions), np.uint8)
        return self.data.take(positions, mode="clip")


_FIRST_OF_MARKS = np.zeros(256, np.bool_)
_FIRST_OF_MARKS[[ord(mark[0]) for mark in MISSING_MARKS if mark]] = True
_LONGEST_MARK = max(map(len, MISSING_MARKS))


def _may_be_marks(strings: Array) -> bool:
    cells = CellBytes(strings)
    starts = cells.ends[:-1]
    likely = np.flatnonzero(_FIRST_OF_MARKS[cells.at(starts)])
    lengths = cells.ends[likely + 1] - starts[likely]
    return bool(np.any((lengths > 1) & (lengths <= _LONGEST_MARK)))


def as_text(values: Array) -> Array:
    """Values as people read them: 3, 0.1, true, 2024-01-31T00:00:00Z; nulls stay null."""
    if pa.types.is_timestamp(values.type):
        text = kernels.replace_substring(kernels.cast(values, pa.string()), " ", "T")
        return kernels.replace_substring_regex(text, r"\.0{6}Z$", "Z")
    return kernels.cast(values, pa.string())


def finite(floats: Array) -> Array:
    """The same numbers, with null for those that are not finite: no mean and no model survives them."""
    return kernels.if_else(kernels.is_finite(floats), floats, pa.scalar(None, pa.float64()))


def flags(booleans: Array) -> npt.NDArray[np.bool_]:
    """Booleans for numpy; null is False."""
    found: npt.NDArray[np.bool_] = kernels.fill_null(booleans, False).to_numpy(zero_copy_only=False)
    return found


def _size(strings: Array) -> int:
    """Bytes of all cells."""
    return reductions.sum(kernels.binary_length(strings)).as_py() or 0
