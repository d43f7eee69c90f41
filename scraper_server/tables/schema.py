"""The types of a column, what is known about its values, and how Arrow holds them."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from servicekit.images.shape import ImageShape

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
    IMAGE = "image"

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
class CellExample:
    """A cell as an example: its row from 0, its line in the file from 1 (0 without lines), and its beginning."""

    row: int
    line: int = 0
    value: str = ""


@dataclass(frozen=True)
class TypeFit:
    """How well the cells of a column that hold something fit a type."""

    type: ColumnType
    share: float
    misfit_count: int = 0
    misfits: tuple[CellExample, ...] = ()


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
    is_distribution_approximate: bool = False


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
class ClassBalance:
    """How evenly classes are spread: shares from 0 to 1, and their entropy beside that of equal ones."""

    class_count: int
    largest_share: float
    smallest_share: float
    evenness: float


@dataclass(frozen=True)
class ImageSizeCount:
    """How many images have a size, before they were resized."""

    height: int
    width: int
    count: int


@dataclass(frozen=True)
class ImageStatistics:
    """Sizes in pixels before resizing; channels from 0 to 255 after it."""

    minimum_height: int
    maximum_height: int
    minimum_width: int
    maximum_width: int
    most_frequent_sizes: tuple[ImageSizeCount, ...]
    channel_means: tuple[float, ...]
    channel_standard_deviations: tuple[float, ...]


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known about a column's values. Counts are exact unless marked otherwise."""

    count: int
    missing_count: int
    distinct_count: int
    numeric: NumericStatistics | None = None
    time: TimeStatistics | None = None
    most_frequent: tuple[ValueCount, ...] = ()
    is_distinct_count_approximate: bool = False
    is_most_frequent_approximate: bool = False
    class_balance: ClassBalance | None = None
    image: ImageStatistics | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table. `statistics` is None where nobody asked for it."""

    name: str
    type: ColumnType
    statistics: ColumnStatistics | None = None
    type_fits: tuple[TypeFit, ...] = ()
    """For columns read from text."""
    image: ImageShape | None = None
    """For images."""

    @property
    def arrow_type(self) -> pa.DataType:
        """How Arrow holds its values."""
        return pa.binary(self.image.size_bytes) if self.image else ARROW_TYPES[self.type]

    def without_statistics(self) -> "Column":
        """The same column by name and type alone."""
        return replace(self, statistics=None)


class WarningKind(StrEnum):
    """What a careful reader of a file would want to know."""

    COLUMN_RENAMED = "column_renamed"
    COLUMN_CONSTANT = "column_constant"
    COLUMN_EMPTY = "column_empty"
    ROWS_RAGGED = "rows_ragged"
    CELLS_MISFIT = "cells_misfit"
    COLUMN_ID_LIKE = "column_id_like"
    CLASS_RARE = "class_rare"
    IMAGES_BROKEN = "images_broken"
    AMBIGUOUS = "ambiguous"
    COLUMN_LEFT_OUT = "column_left_out"
    TARGET_LEAK = "target_leak"
    ROWS_SHARED = "rows_shared"
    FUTURE_LEAK = "future_leak"


@dataclass(frozen=True)
class TableWarning:
    """Something that a careful reader of the data would want to know. `column` is empty if it concerns rows."""

    kind: WarningKind
    column: str
    message: str
    count: int = 0
    examples: tuple[CellExample, ...] = ()


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a table with these columns."""
    return pa.schema(
        [pa.field(each.name, each.arrow_type, metadata={TYPE_KEY: each.type.value.encode()}) for each in columns]
    )
