"""The six types of a column, what is known about its values, and how Arrow holds them."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

# Where an Arrow field says whether its strings are categories or text, which Arrow's own type does not.
TYPE_KEY = b"flare.type"


class ColumnType(StrEnum):
    """What kind of values a column holds."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    CATEGORICAL = "categorical"
    TEXT = "text"

    @property
    def is_numeric(self) -> bool:
        """True for integers and floats."""
        return self in (ColumnType.INTEGER, ColumnType.FLOAT)

    @property
    def is_string(self) -> bool:
        """True for the two types whose values are strings."""
        return self in (ColumnType.CATEGORICAL, ColumnType.TEXT)


ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DATETIME: pa.timestamp("us", tz="UTC"),
    ColumnType.CATEGORICAL: pa.string(),
    ColumnType.TEXT: pa.string(),
}


@dataclass(frozen=True)
class Quantile:
    """The value below which a share (0 to 1) of the values lies."""

    probability: float
    value: float


@dataclass(frozen=True)
class HistogramBin:
    """How many values lie from `lower` (inclusive) to `upper` (exclusive but in the last bin)."""

    lower: float
    upper: float
    count: int


@dataclass(frozen=True)
class NumericStatistics:
    """Moments and distribution of numbers; the standard deviation is the population's."""

    minimum: float
    maximum: float
    mean: float
    standard_deviation: float
    quantiles: tuple[Quantile, ...]
    histogram: tuple[HistogramBin, ...]


@dataclass(frozen=True)
class TimeStatistics:
    """The range of points in time."""

    minimum: datetime
    maximum: datetime


@dataclass(frozen=True)
class ValueCount:
    """How often a value, as text, occurs."""

    value: str
    count: int


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known about a column's values. Counts are exact."""

    count: int
    missing_count: int
    distinct_count: int
    numeric: NumericStatistics | None = None
    time: TimeStatistics | None = None
    most_frequent: tuple[ValueCount, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table. `statistics` is None where nobody asked for it."""

    name: str
    type: ColumnType
    statistics: ColumnStatistics | None = None

    def without_statistics(self) -> "Column":
        """The same column by name and type alone."""
        return replace(self, statistics=None)


class WarningKind(StrEnum):
    """What a careful reader of a file would want to know."""

    COLUMN_RENAMED = "column_renamed"
    COLUMN_CONSTANT = "column_constant"
    COLUMN_EMPTY = "column_empty"


@dataclass(frozen=True)
class TableWarning:
    """Something that a careful reader of a file would want to know about one of its columns."""

    kind: WarningKind
    column: str
    message: str


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a table with these columns."""
    return pa.schema(
        [pa.field(each.name, ARROW_TYPES[each.type], metadata={TYPE_KEY: each.type.value.encode()}) for each in columns]
    )
