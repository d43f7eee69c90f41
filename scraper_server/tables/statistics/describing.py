"""Counts and distributions as the statistics that people read."""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array
from scraper_server.tables.cells import as_text
from scraper_server.tables.schema import (
    ARROW_TYPES,
    ClassBalance,
    ColumnType,
    HistogramBin,
    NumericStatistics,
    Quantile,
    TimeStatistics,
    ValueCount,
)
from scraper_server.tables.statistics.counting import Counts, NumberCounts
from scraper_server.tables.statistics.quantiles import Floats, WeightedValues, Weights

PROBABILITIES = np.array((0.05, 0.25, 0.5, 0.75, 0.95))
HISTOGRAM_BINS = 20
MOST_FREQUENT = 20
# Longer values are cut in the list of the most frequent ones: it is there to be looked at.
VALUE_CHARACTERS = 200
# Of tables that are wider than this the lists are shorter: a data set and its statistics must fit into one message.
WIDE_COLUMNS = 1000
WIDE_MOST_FREQUENT = 3
WIDE_VALUE_CHARACTERS = 40
# Whole numbers are classes, such as ratings, when there are at most so many different ones that repeat.
FEW_NUMBERS = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHARES = np.linspace(0, 1, HISTOGRAM_BINS + 1)


def numeric_statistics(
    values: WeightedValues, mean: float, standard_deviation: float, *, is_approximate: bool = False
) -> NumericStatistics:
    """Those of at least one value. The first and the last are the smallest and the largest."""
    minimum, maximum = float(values.values[0]), float(values.values[-1])
    reached: Weights = values.weights.cumsum()
    return NumericStatistics(
        minimum=minimum,
        maximum=maximum,
        mean=min(max(mean, minimum), maximum),
        standard_deviation=standard_deviation if minimum < maximum else 0.0,
        quantiles=_quantiles(values.values, reached),
        histogram=_histogram(values.values, reached),
        is_distribution_approximate=is_approximate,
    )


def time_statistics(first: int, last: int) -> TimeStatistics:
    """The range of points in time, which are microseconds since 1970."""
    return TimeStatistics(*(_EPOCH + timedelta(microseconds=int(each)) for each in (first, last)))


def number_texts(values: npt.NDArray[np.int64], kind: ColumnType) -> Array:
    """Whole numbers, points in time and booleans as people read them."""
    return as_text(pa.array(values).cast(ARROW_TYPES[kind]))


def shown_values(width: int) -> int:
    """How many of the most frequent values a table of so many columns shows."""
    return WIDE_MOST_FREQUENT if width > WIDE_COLUMNS else MOST_FREQUENT


def value_counts(texts: Array, counts: Counts, width: int) -> tuple[ValueCount, ...]:
    """Values with their counts, cut to what may be shown of a table of so many columns."""
    longest = WIDE_VALUE_CHARACTERS if width > WIDE_COLUMNS else VALUE_CHARACTERS
    pairs = zip(texts.to_pylist(), counts.tolist(), strict=True)
    return tuple(ValueCount(str(text)[:longest], count) for text, count in pairs)


def class_balance(counts: Counts) -> ClassBalance | None:
    """How evenly classes are spread; None without any."""
    if not len(counts):
        return None
    shares = counts / counts.sum()
    entropy = -float(shares @ np.log(shares))
    return ClassBalance(
        class_count=len(counts),
        largest_share=float(shares.max()),
        smallest_share=float(shares.min()),
        evenness=min(entropy / float(np.log(len(counts))), 1.0) if len(counts) > 1 else 0.0,
    )


def are_classes(numbers: NumberCounts) -> bool:
    """True of few whole numbers that repeat."""
    return len(numbers.counts) <= FEW_NUMBERS and int(numbers.counts.sum()) >= 2 * len(numbers.counts)


def _quantiles(values: Floats, reached: Weights) -> tuple[Quantile, ...]:
    """Interpolated linearly between the two values next to the place, as numpy and pandas do."""
    places = PROBABILITIES * (reached[-1] - 1)
    whole = np.floor(places)
    part = places - whole
    last = len(values) - 1
    below = values[np.minimum(np.searchsorted(reached, whole, "right"), last)]
    above = values[np.minimum(np.searchsorted(reached, whole + 1, "right"), last)]
    between = below * (1 - part) + above * part  # and not above - below, which can overflow
    found = np.where(below == above, below, between)
    return tuple(Quantile(share, value) for share, value in zip(PROBABILITIES.tolist(), found.tolist(), strict=True))


def _histogram(values: Floats, reached: Weights) -> tuple[HistogramBin, ...]:
    total = round(float(reached[-1]))
    edges = values[0] * (1 - _SHARES) + values[-1] * _SHARES
    edges[0], edges[-1] = values[0], values[-1]
    if not np.all(edges[1:] > edges[:-1]):  # one value, or too near for bins between them
        return (HistogramBin(float(values[0]), float(values[-1]), total),)
    places = np.searchsorted(values, edges[1:-1])
    below = np.rint(np.concatenate(([0.0], reached))[places]).astype(np.int64)
    counts = np.diff(below, prepend=0, append=total)
    bins = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return tuple(HistogramBin(lower, upper, count) for lower, upper, count in bins)
