"""What is known about a column's values."""

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, plain, reductions
from scraper_server.tables.cells import as_text
from scraper_server.tables.schema import (
    Column,
    ColumnStatistics,
    ColumnType,
    HistogramBin,
    NumericStatistics,
    Quantile,
    TableWarning,
    TimeStatistics,
    ValueCount,
    WarningKind,
)

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
HISTOGRAM_BINS = 20
MOST_FREQUENT = 20
# Longer values are cut in the list of the most frequent ones: it is there to be looked at.
VALUE_CHARACTERS = 200
# Of tables that are wider than this the lists are shorter: a data set and its statistics must fit into one message.
WIDE_COLUMNS = 1000
WIDE_MOST_FREQUENT = 3
WIDE_VALUE_CHARACTERS = 40


def column_statistics(kind: ColumnType, values: Array, width: int) -> ColumnStatistics:
    """The statistics of a whole column of a table of `width`; `values` have the Arrow type that belongs to `kind`."""
    present = kernels.drop_null(values)
    counts = kernels.value_counts(present)
    return ColumnStatistics(
        count=len(present),
        missing_count=len(values) - len(present),
        distinct_count=len(counts),
        numeric=_numeric(present) if len(present) and (kind.is_numeric or kind is ColumnType.BOOLEAN) else None,
        time=_time(present) if len(present) and kind is ColumnType.DATETIME else None,
        most_frequent=() if kind is ColumnType.FLOAT else _most_frequent(cast(pa.StructArray, counts), width),
    )


def column_warnings(column: Column) -> tuple[TableWarning, ...]:
    """What the statistics of a column say that its user should know."""
    known = column.statistics
    if known is None:
        return ()
    if not known.count:
        message = f"column '{column.name}' has no value in any row"
        return (TableWarning(WarningKind.COLUMN_EMPTY, column.name, message),)
    if known.distinct_count == 1 and known.count > 1 and not known.missing_count:
        message = f"column '{column.name}' has the same value in every row"
        return (TableWarning(WarningKind.COLUMN_CONSTANT, column.name, message),)
    return ()


def _numeric(present: Array) -> NumericStatistics:
    numbers: npt.NDArray[np.float64] = kernels.cast(present, pa.float64(), safe=False).to_numpy()
    minimum, maximum = float(numbers.min()), float(numbers.max())
    quantiles = np.quantile(numbers, PROBABILITIES)
    return NumericStatistics(
        minimum=minimum,
        maximum=maximum,
        mean=float(numbers.mean()),
        standard_deviation=float(numbers.std()),
        quantiles=tuple(Quantile(share, float(value)) for share, value in zip(PROBABILITIES, quantiles, strict=True)),
        histogram=_histogram(numbers, minimum, maximum),
    )


def _histogram(numbers: npt.NDArray[np.float64], minimum: float, maximum: float) -> tuple[HistogramBin, ...]:
    width = (maximum - minimum) / HISTOGRAM_BINS
    if not np.isfinite(width) or minimum + width == minimum:  # one value, or too near for bins between them
        return (HistogramBin(minimum, maximum, len(numbers)),)
    counts, edges = np.histogram(numbers, HISTOGRAM_BINS, (minimum, maximum))
    return tuple(
        HistogramBin(float(lower), float(upper), int(count))
        for lower, upper, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )


def _time(present: Array) -> TimeStatistics:
    return TimeStatistics(reductions.min(present).as_py(), reductions.max(present).as_py())


def _most_frequent(counts: pa.StructArray, width: int) -> tuple[ValueCount, ...]:
    """Equal counts are ordered by value, so that the list is the same every time."""
    is_wide = width > WIDE_COLUMNS
    most, longest = (WIDE_MOST_FREQUENT, WIDE_VALUE_CHARACTERS) if is_wide else (MOST_FREQUENT, VALUE_CHARACTERS)
    ranked = pa.table({"value": counts.field("values"), "count": counts.field("counts")})
    order = [("count", "descending"), ("value", "ascending")]
    top = ranked.take(kernels.select_k_unstable(ranked, k=most, sort_keys=order))
    texts = as_text(plain(top["value"])).to_pylist()
    numbers = plain(top["count"]).to_pylist()
    return tuple(ValueCount(str(text)[:longest], int(str(count))) for text, count in zip(texts, numbers, strict=True))
