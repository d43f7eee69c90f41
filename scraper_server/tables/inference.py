"""Finds out how the cells of a column of text are to be read.

A column is read as its first cells suggest, and is looked at more closely only where a later one does not fit; what
comes out is what a look at every cell by every reading would give.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from scraper_server.tables.arrow import Array, kernels, reductions
from scraper_server.tables.cells import cleaned, flags, quickly_cleaned
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.insisting import insisted
from scraper_server.tables.misfits import Misfits
from scraper_server.tables.numbers import BOOLEAN, FLOAT, GROUPED_INTEGERS, INTEGER, STYLED_FLOATS
from scraper_server.tables.readings import STRING, Family, Reading
from scraper_server.tables.schema import ColumnType
from scraper_server.tables.times import TIMES

# In the order of preference, for columns that several fit.
READINGS = (INTEGER, FLOAT, BOOLEAN, *TIMES, *GROUPED_INTEGERS, *STYLED_FLOATS)

# A column of strings is categorical with at most so many distinct ones ...
MOST_CATEGORIES = 1000
# ... that repeat: twice on average, or at all when there are only so many.
FEW_CATEGORIES = 20
# A reading is in question for a column of text if it fits this share of the first cells.
LIKELY_SHARE = 0.5
# No cell that begins otherwise fits any reading but that of strings.
_TELLING = r"^(?i:[+\-.,]?[0-9.,]|[+\-]?(?:inf|nan)|true|false|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_GROUPED_BY_POINTS = next(reading for reading in GROUPED_INTEGERS if reading.thousands == ".")
_NUMBERS = tuple(reading for reading in READINGS if reading.type.is_numeric)


def allowed_readings(wanted: FileFormat) -> tuple[Reading, ...]:
    """The readings that agree with the separators which the caller names."""
    decimal, thousands = wanted.decimal_separator, wanted.thousands_separator
    if thousands in (",", ".") and not decimal:
        decimal = "." if thousands == "," else ","
    family = {"": None, ".": Family.POINT, ",": Family.COMMA}[decimal]

    def agrees(reading: Reading) -> bool:
        if not reading.type.is_numeric:
            return True
        if thousands and reading.thousands not in ("", thousands):
            return False
        return family is None or reading.family in (None, family)

    return tuple(filter(agrees, READINGS))


class StringKind:
    """Tells categories from text, from all the strings of a column."""

    def __init__(self) -> None:
        self._distinct: set[str] | None = set()  # None once there are too many
        self._count = 0

    @property
    def is_open(self) -> bool:
        """False once the strings are known to be text."""
        return self._distinct is not None

    def see(self, strings: Array) -> None:
        """Takes the next cells."""
        self.add(len(strings) - strings.null_count, distinct_strings(strings) if self.is_open else ())

    def add(self, count: int, distinct: Iterable[str]) -> None:
        """Takes the next cells, so many with a value, by what is distinct among them."""
        self._count += count
        if self._distinct is None:
            return
        self._distinct.update(distinct)
        if len(self._distinct) > MOST_CATEGORIES:
            self._distinct = None

    @property
    def type(self) -> ColumnType:
        """CATEGORICAL if the strings repeat enough, else TEXT."""
        if self._distinct is None:
            return ColumnType.TEXT
        distinct = len(self._distinct)
        repeats = distinct * 2 <= self._count or (distinct <= FEW_CATEGORIES and distinct < self._count)
        return ColumnType.CATEGORICAL if self._count and repeats else ColumnType.TEXT


def distinct_strings(strings: Array) -> tuple[str, ...]:
    """The different strings, without null."""
    return tuple(map(str, kernels.drop_null(kernels.unique(strings)).to_pylist()))


@dataclass(frozen=True)
class Plan:
    """How a column is read until its cells show otherwise.

    `watched` are readings whose misfits are counted cell by cell. A chosen type is read whatever the cells are.
    """

    reading: Reading
    watched: tuple[Reading, ...] = ()
    chosen: ColumnType | None = None

    @property
    def type(self) -> ColumnType:
        """The type that its values get; a TEXT may turn CATEGORICAL."""
        return self.chosen or self.reading.type


@dataclass(frozen=True)
class ColumnPart:
    """A column of one block, read. `values` is None if it does not fit the plan; then `fitting` says what it fits."""

    values: Array | None
    count: int
    watched: tuple[Misfits, ...] = ()
    chosen: Misfits = field(default_factory=Misfits)
    distinct: tuple[str, ...] = ()
    fitting: frozenset[Reading] = frozenset()


def read_column(strings: Array, plan: Plan, allowed: tuple[Reading, ...], seeks_distinct: bool) -> ColumnPart:
    """Reads the cells of a block as planned. They are as in the file, and null where they are empty."""
    reading = plan.reading
    if plan.chosen is None and not plan.watched and reading is not STRING:
        values = reading.quick(strings)
        if values is not None:
            return ColumnPart(values, len(values) - values.null_count)
        strings = cleaned(strings)
        cells = reading.read(strings)
        if cells.fit:
            return ColumnPart(cells.values, len(strings) - strings.null_count)
        return _misread(strings, allowed)
    strings = quickly_cleaned(strings)
    count = len(strings) - strings.null_count
    watched = tuple(Misfits.among(strings, each.read(strings).misfits) for each in plan.watched)
    if plan.type.is_string:
        distinct = distinct_strings(strings) if seeks_distinct else ()
        return ColumnPart(strings, count, watched, distinct=distinct)
    if plan.chosen is not None:
        cells = insisted(strings, plan.chosen, reading)
        return ColumnPart(cells.values, count, watched, Misfits.among(strings, cells.misfits))
    cells = reading.read(strings)
    return (
        ColumnPart(cells.values, count, watched) if cells.fit else replace(_misread(strings, allowed), watched=watched)
    )


def _misread(strings: Array, allowed: tuple[Reading, ...]) -> ColumnPart:
    count = len(strings) - strings.null_count
    return ColumnPart(None, count, fitting=frozenset(fitting_readings(strings, allowed)))


def fitting_readings(strings: Array, allowed: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The readings that fit every one of these cells, which are cleaned."""
    if INTEGER in allowed and INTEGER.quick(strings) is not None:
        return tuple(each for each in allowed if each in _NUMBERS)  # plain digits are all of them
    return tuple(each for each in allowed if each.read(strings).fit)


def closest_readings(strings: Array, allowed: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The readings that fit most of these cells, which are cleaned."""
    misfits = [int(np.count_nonzero(each.read(strings).misfits)) for each in allowed]
    least = min(misfits, default=0)
    return tuple(each for each, count in zip(allowed, misfits, strict=True) if count == least)


def likely_readings(strings: Array, allowed: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The readings that fit at least LIKELY_SHARE of these cells, which are cleaned; all if none has a value."""
    count = len(strings) - strings.null_count
    least = count * LIKELY_SHARE
    telling = kernels.match_substring_regex(strings, _TELLING)
    if np.count_nonzero(flags(telling)) < least:
        return ()
    return tuple(each for each in allowed if count - np.count_nonzero(each.read(strings).misfits) >= least)


def first_readings(sample: Array, allowed: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The readings of a column that its first cells, cleaned, let expect; none if there is no value among them."""
    if sample.null_count == len(sample):
        return ()
    floats = FLOAT.quick(sample) if FLOAT in allowed else None
    if floats is None or _are_whole(floats):
        return fitting_readings(sample, allowed)
    # The other styles of floats matter only where a later cell is not plain.
    may_be_grouped = _GROUPED_BY_POINTS in allowed and _are_whole(kernels.multiply(floats, 1000.0))
    return (FLOAT, _GROUPED_BY_POINTS) if may_be_grouped and _GROUPED_BY_POINTS.read(sample).fit else (FLOAT,)


def _are_whole(floats: Array) -> bool:
    """True if all numbers are whole, but for what counting in twos costs."""
    rests = kernels.abs(kernels.subtract(floats, kernels.round(floats)))
    return bool(reductions.all(kernels.less(rests, 1e-6)).as_py())
