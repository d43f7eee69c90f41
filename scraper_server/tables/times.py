"""How dates and times are written. A time without a zone is taken for UTC, a date is its midnight."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, reductions
from scraper_server.tables.cells import flags
from scraper_server.tables.readings import Cells, Family, Mask, Reading
from scraper_server.tables.schema import ARROW_TYPES, ColumnType

Numbers = npt.NDArray[np.int64]

_UTC = ARROW_TYPES[ColumnType.DATETIME]
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december|"
    "jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec"
)
# 69 to 99 are of the last century, as POSIX has it.
_CENTURY_TURN = 69

_ISO_CLOCK = r"(?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?)?"
_ISO_DAY = r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
_ZONE = r"(?:Z|(?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?)"
_CLOCK = (
    r"(?:,?[ T](?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<half>[aApP])\.?[mM]\.?)?)?"
)
_DAY, _MONTH, _YEAR = "(?P<day>[0-9]{1,2})", "(?P<month>[0-9]{1,2})", "(?P<year>[0-9]{4})"
_NAMED, _SHORT_YEAR = f"(?P<month_name>(?i:{_LONG_MONTHS}))", "(?P<short_year>[0-9]{2})"


def _quick(zoned: bool) -> Callable[[Array], Array | None]:
    arrow_type = _UTC if zoned else pa.timestamp("us")

    def quick(strings: Array) -> Array | None:
        try:
            values = kernels.cast(strings, arrow_type)
        except pa.ArrowInvalid:
            return None
        times = values if zoned else kernels.assume_timezone(values, "UTC")
        return times if _within(times) else None

    return quick


def _within(times: Array) -> bool:
    """True if all are of the years 1 to 9999, which are those that most programs know."""
    extremes = reductions.min_max(kernels.cast(times, pa.int64())).as_py()
    lowest, highest = extremes["min"], extremes["max"]
    return lowest is None or (lowest >= _FIRST and highest <= _LAST)


def _careful(pattern: str) -> Callable[[Array], Cells]:
    whole = f"^{pattern}$"

    def careful(strings: Array) -> Cells:
        found = kernels.extract_regex(strings, whole)
        micros, possible = _moments(cast(pa.StructArray, found), len(strings))
        good = flags(kernels.is_valid(found)) & possible & (micros >= _FIRST) & (micros <= _LAST)
        values = pa.array(np.where(good, micros, 0), pa.int64(), mask=~good)
        return Cells(kernels.cast(values, _UTC), flags(kernels.is_valid(strings)) & ~good)

    return careful


def _moments(found: pa.StructArray, count: int) -> tuple[Numbers, Mask]:
    """Microseconds since 1970 of what a pattern found, and whether the calendar and the clock have such a moment."""
    parts = {field.name: found.field(at) for at, field in enumerate(found.type)}

    def number(name: str, default: int = 0) -> Numbers:
        if name not in parts:
            return np.full(count, default, np.int64)
        text = parts[name]
        known = kernels.if_else(kernels.equal(text, ""), pa.scalar(None, pa.string()), text)
        values: Numbers = kernels.fill_null(kernels.cast(known, pa.int64()), default).to_numpy()
        return values

    year, month, day = number("year", 1970), number("month", 1), number("day", 1)
    if "short_year" in parts:
        short = number("short_year")
        year = short + np.where(short >= _CENTURY_TURN, 1900, 2000)
    if "month_name" in parts:
        begin = kernels.utf8_slice_codeunits(kernels.utf8_lower(parts["month_name"]), 0, 3)
        month = kernels.fill_null(kernels.index_in(begin, value_set=pa.array(_MONTHS)), 0).to_numpy() + np.int64(1)
    hour, minute, second = number("hour"), number("minute"), number("second")
    possible = (month >= 1) & (month <= 12) & (day >= 1) & (minute < 60) & (second < 60) & (hour < 24) & (year >= 1)
    if "half" in parts:
        half = kernels.fill_null(kernels.utf8_lower(parts["half"]), "").to_numpy(zero_copy_only=False)
        is_halved = (half == "a") | (half == "p")
        possible &= ~is_halved | ((hour >= 1) & (hour <= 12))
        hour = np.where(is_halved, hour % 12 + 12 * (half == "p"), hour)
    months = (year - 1970) * 12 + np.where(possible, month, 1) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[M]").astype("datetime64[D]") - first).astype(np.int64)
    possible &= day <= length
    shift = number("zone_hour") * 60 + number("zone_minute")
    possible &= (number("zone_hour") < 24) & (number("zone_minute") < 60)
    if "sign" in parts:
        shift = np.where(flags(kernels.equal(parts["sign"], "-")), -shift, shift)
    seconds = (first.astype(np.int64) + day - 1) * 86_400 + hour * 3600 + (minute - shift) * 60 + second
    return seconds * 1_000_000 + _micros(parts, count), possible


def _micros(parts: dict[str, Array], count: int) -> Numbers:
    """The fraction of the second; what is finer than a microsecond is cut off."""
    if "fraction" not in parts:
        return np.zeros(count, np.int64)
    text = kernels.utf8_slice_codeunits(kernels.utf8_rpad(parts["fraction"], 6, "0"), 0, 6)
    values: Numbers = kernels.fill_null(kernels.cast(text, pa.int64()), 0).to_numpy()
    return values


def _micros_of(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000


_FIRST = _micros_of(datetime(1, 1, 1, tzinfo=UTC))
_LAST = _micros_of(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))


def _time(name: str, pattern: str, family: Family | None = None) -> Reading:
    return Reading(name, ColumnType.DATETIME, _careful(pattern), family=family)


def _ordered(separator: str, name: str) -> tuple[Reading, Reading]:
    """Month and day around a separator, in both orders."""
    return (
        _time(f"M{name}D{name}Y", _MONTH + separator + _DAY + separator + _YEAR + _CLOCK, Family.MONTH_FIRST),
        _time(f"D{name}M{name}Y", _DAY + separator + _MONTH + separator + _YEAR + _CLOCK, Family.DAY_FIRST),
    )


TIMES = (
    Reading("iso", ColumnType.DATETIME, _careful(f"{_ISO_DAY}(?:[ T]{_ISO_CLOCK})?"), _quick(zoned=False)),
    Reading("zoned", ColumnType.DATETIME, _careful(f"{_ISO_DAY}[ T]{_ISO_CLOCK}{_ZONE}"), _quick(zoned=True)),
    _time("Y/M/D", f"{_YEAR}/{_MONTH}/{_DAY}{_CLOCK}"),
    *_ordered("/", "/"),
    *_ordered("-", "-"),
    _time("D.M.Y", rf"{_DAY}\.{_MONTH}\.{_YEAR}{_CLOCK}"),
    _time("M/D/y", f"{_MONTH}/{_DAY}/{_SHORT_YEAR}{_CLOCK}", Family.MONTH_FIRST),
    _time("D/M/y", f"{_DAY}/{_MONTH}/{_SHORT_YEAR}{_CLOCK}", Family.DAY_FIRST),
    _time("D-B-Y", rf"{_DAY}[- ]{_NAMED}\.?[- ,]{{1,2}}{_YEAR}{_CLOCK}"),
    _time("B D, Y", rf"{_NAMED}\.? {_DAY},? {_YEAR}{_CLOCK}"),
)
