"""Cells as text: what counts as missing, how a value is written, and how text is read as a value.

Everything here works on whole Arrow arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, reductions
from scraper_server.tables.schema import ARROW_TYPES, ColumnType

# Cells of a delimited file that hold nothing. Longer lists (`-`, `?`, `none`) would swallow real categories.
MISSING_MARKS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "#N/A")

TRUE_WORDS = ("true", "t", "yes", "y", "1")
FALSE_WORDS = ("false", "f", "no", "n", "0")


def cleaned(strings: Array) -> Array:
    """The cells without surrounding white space, and null where a mark says that they are missing."""
    trimmed = kernels.utf8_trim_whitespace(strings)
    missing = kernels.is_in(trimmed, value_set=pa.array(MISSING_MARKS))
    return kernels.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def as_text(values: Array) -> Array:
    """Values as people read them: 3, 0.1, true, 2024-01-31T00:00:00Z; nulls stay null."""
    if pa.types.is_timestamp(values.type):
        text = kernels.replace_substring(kernels.cast(values, pa.string()), " ", "T")
        return kernels.replace_substring_regex(text, r"\.0{6}Z$", "Z")
    return kernels.cast(values, pa.string())


@dataclass(frozen=True)
class Reading:
    """A way to read text as values of a type.

    `parse` raises ArrowInvalid at the first cell that does not fit. Cells that it would read and should not, since they
    match `refused` or do not match `required`, are found by `fits`; so `parse` is for cells that were found to fit.
    """

    name: str
    type: ColumnType
    parse: Callable[[Array], Array]
    refused: str = ""
    required: str = ""

    def fits(self, strings: Array) -> bool:
        """True if every cell can be read so. Nulls always can."""
        if self.refused and _any(kernels.match_substring_regex(strings, self.refused)):
            return False
        if self.required and _any(kernels.invert(kernels.match_substring_regex(strings, self.required))):
            return False
        try:
            self.parse(strings)
        except pa.ArrowInvalid:
            return False
        return True


def _integers(strings: Array) -> Array:
    return kernels.cast(kernels.replace_substring_regex(strings, r"^\+", ""), pa.int64())


def _floats(strings: Array) -> Array:
    return finite(kernels.cast(strings, pa.float64()))


def _booleans(strings: Array) -> Array:
    return kernels.equal(kernels.utf8_lower(strings), "true")


def _iso_times(strings: Array) -> Array:
    return kernels.assume_timezone(kernels.cast(_to_microseconds(strings), pa.timestamp("us")), "UTC")


def _zoned_times(strings: Array) -> Array:
    return kernels.cast(_to_microseconds(strings), ARROW_TYPES[ColumnType.DATETIME])


def _formatted_times(pattern: str) -> Callable[[Array], Array]:
    def parse(strings: Array) -> Array:
        return kernels.assume_timezone(kernels.strptime(strings, format=pattern, unit="us"), "UTC")

    return parse


_DAY = r"^[0-9]{1,2}%s[0-9]{1,2}%s[0-9]{4}"
_CLOCK = r" [0-9]{1,2}:[0-9]{2}"
_TIME_FORMATS = {
    "%m/%d/%Y": _DAY % ("/", "/") + "$",
    "%d/%m/%Y": _DAY % ("/", "/") + "$",
    "%d.%m.%Y": _DAY % (r"\.", r"\.") + "$",
    "%m/%d/%Y %H:%M": _DAY % ("/", "/") + _CLOCK + "$",
    "%d/%m/%Y %H:%M": _DAY % ("/", "/") + _CLOCK + "$",
    "%d.%m.%Y %H:%M": _DAY % (r"\.", r"\.") + _CLOCK + "$",
}

# In the order of preference, for columns that several fit. 00123 is a code and 0x1F a name, though Arrow would read
# both as numbers; and whole numbers too long for an integer are identifiers, which a float would blur.
READINGS = (
    Reading("integer", ColumnType.INTEGER, _integers, refused=r"^[+-]?0[0-9xX]"),
    Reading("float", ColumnType.FLOAT, _floats, refused=r"^[+-]?(0[0-9]+|[0-9]{19,})$"),
    Reading("boolean", ColumnType.BOOLEAN, _booleans, required=r"^(?i:true|false)$"),
    Reading("iso", ColumnType.DATETIME, _iso_times),
    Reading("zoned", ColumnType.DATETIME, _zoned_times),
    *(
        Reading(pattern, ColumnType.DATETIME, _formatted_times(pattern), required=shape)
        for pattern, shape in _TIME_FORMATS.items()
    ),
)
# Day and month can be told apart only where some day is above 12; a column that both fit stays text.
AMBIGUOUS = ({"%m/%d/%Y", "%d/%m/%Y"}, {"%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"})


def finite(floats: Array) -> Array:
    """The same numbers, with null for those that are not finite: no mean and no model survives them."""
    return kernels.if_else(kernels.is_finite(floats), floats, pa.scalar(None, pa.float64()))


def parsed(strings: Array, wanted: ColumnType) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Reads text as another type where a caller insists: the values, and which cells can't be read so.

    More is read than when types are found out: leading zeros, whole floats as integers, yes and no, mixed ISO times.
    Cells that can't be read are null in the values.
    """
    frame = pd.Series(strings.to_pandas(), dtype="str")
    missing = frame.isna().to_numpy()
    if wanted is ColumnType.BOOLEAN:
        lowered = frame.str.lower()
        true, known = lowered.isin(TRUE_WORDS).to_numpy(), lowered.isin(TRUE_WORDS + FALSE_WORDS).to_numpy()
        return pa.array(true, mask=~known), ~known & ~missing
    if wanted is ColumnType.DATETIME:
        times = pd.to_datetime(frame, errors="coerce", utc=True, format="ISO8601")
        failed = times.isna().to_numpy() & ~missing
        return pa.array(times, from_pandas=True).cast(ARROW_TYPES[wanted], safe=False), failed
    numbers = pd.to_numeric(frame, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    good = np.isfinite(numbers)
    if wanted is ColumnType.FLOAT:
        return pa.array(numbers, mask=~good), ~good & ~missing
    good &= np.equal(np.mod(numbers, 1, where=good, out=np.ones_like(numbers)), 0) & (np.abs(numbers) < 2.0**63)
    whole = np.where(good, numbers, 0).astype(np.int64)
    return pa.array(whole, mask=~good), ~good & ~missing


def _any(booleans: Array) -> bool:
    return bool(reductions.any(booleans, min_count=0).as_py())


def _to_microseconds(strings: Array) -> Array:
    return kernels.replace_substring_regex(strings, r"(\.[0-9]{6})[0-9]+", r"\1")
