"""What preprocessing learns of columns from their rows, taken in some at a time: rows need not fit into memory.

Everything is exact: no quantile is learned, and mean and deviation of blocks are joined by the formulas of Chan, Golub
and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Column, Columns, ColumnType, ImageColumn, NumberColumn, TextColumn, text_of
from servicekit.images.channels import ChannelHistogram
from servicekit.images.shape import ImageShape

# How many numbers are summed up at a time: so many stay in the processor's cache from one sum to the next.
BLOCK_NUMBERS = 65_536


@dataclass(frozen=True)
class NumberSummary:
    """The numbers of a column; missing ones do not count. `deviation` is the population's; 0 without any number."""

    count: int
    low: float
    high: float
    mean: float
    deviation: float

    @property
    def scaling(self) -> tuple[float, float]:
        """Mean and standard deviation; the deviation of equal numbers is 1, so that everybody can divide by it."""
        if not self.count:
            return 0.0, 1.0
        if self.low == self.high:  # rounding leaves a mean beside the value, and a deviation above 0
            return self.low, 1.0
        return self.mean, self.deviation if self.deviation > 0 else 1.0


@dataclass(frozen=True)
class TextSummary:
    """The categories of a column, in the order of their letters; a missing value is none."""

    categories: tuple[str, ...]


@dataclass(frozen=True)
class ImageSummary:
    """The levels of a column of images."""

    levels: ChannelHistogram


Summary = NumberSummary | TextSummary | ImageSummary


class Summaries:
    """Takes in the rows of some columns."""

    def __init__(self, types: Mapping[str, ColumnType], images: Mapping[str, ImageShape]) -> None:
        """`images` says what the images of a column are."""
        self._types = types
        self._numbers = [name for name, kind in types.items() if not kind.is_textual and kind is not ColumnType.IMAGE]
        self._running = _Running(len(self._numbers))
        self._categories: dict[str, set[str]] = {name: set() for name, kind in types.items() if kind.is_textual}
        self._levels = {name: ChannelHistogram(shape.mode.channels) for name, shape in images.items() if name in types}

    def add(self, rows: Columns) -> None:
        """Takes in some more rows."""
        if self._numbers:
            columns = [_numbers(rows[name]) for name in self._numbers]
            step = max(1, BLOCK_NUMBERS // len(columns))
            for start in range(0, len(columns[0]), step):
                self._running.add(np.stack([column[start : start + step] for column in columns], axis=1))
        for name, found in self._categories.items():
            column = rows[name]
            assert isinstance(column, TextColumn), name
            seen = np.bincount(column.codes + 1, minlength=len(column.values) + 1)[1:]
            found.update(value for value, count in zip(column.values, seen, strict=True) if count)
        for name, levels in self._levels.items():
            column = rows[name]
            assert isinstance(column, ImageColumn), name
            for block in column.blocks:
                levels.add(block)

    @property
    def columns(self) -> dict[str, Summary]:
        """What is known so far, by column."""
        numbers = dict(zip(self._numbers, self._running.summaries(), strict=True))
        found: dict[str, Summary] = {}
        for name in self._types:
            if name in numbers:
                found[name] = numbers[name]
            elif name in self._levels:
                found[name] = ImageSummary(self._levels[name])
            else:
                found[name] = TextSummary(tuple(sorted(self._categories[name])))
        return found


def categories_of(summary: Summary, column_type: ColumnType) -> tuple[str, ...]:
    """The categories of a column of texts or booleans, in the order of their letters."""
    if isinstance(summary, TextSummary):
        return summary.categories
    assert isinstance(summary, NumberSummary)
    assert column_type is ColumnType.BOOLEAN, column_type  # of other numbers more than the extremes would be needed
    values = sorted({summary.low, summary.high}) if summary.count else []
    return tuple(sorted(text_of(value, column_type) for value in values))


class _Running:
    """Count, extremes, mean and summed squares of deviations of C columns, side by side."""

    def __init__(self, columns: int) -> None:
        self._count = np.zeros(columns)
        self._low = np.full(columns, np.inf)
        self._high = np.full(columns, -np.inf)
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)

    def add(self, values: NDArray[np.float64]) -> None:
        """Takes in numbers (N, C)."""
        count = np.full(len(self._count), float(len(values)))
        sums = values.sum(axis=0)
        lows, highs = values, values
        missing = None
        if np.isnan(sums).any():
            missing = np.isnan(values)
            count -= missing.sum(axis=0)
            sums = np.where(missing, 0.0, values).sum(axis=0)
            lows, highs = np.where(missing, np.inf, values), np.where(missing, -np.inf, values)
        mean = np.divide(sums, count, out=np.zeros_like(sums), where=count > 0)
        deviations = values - mean
        if missing is not None:
            deviations[missing] = 0.0
        deviations *= deviations
        both = self._count + count
        share = np.divide(count, both, out=np.zeros_like(both), where=both > 0)
        apart = mean - self._mean
        self._squares += deviations.sum(axis=0) + apart * apart * self._count * share
        self._mean += apart * share
        self._count = both
        self._low = np.minimum(self._low, lows.min(axis=0))
        self._high = np.maximum(self._high, highs.max(axis=0))

    def summaries(self) -> list[NumberSummary]:
        """Of each column."""
        deviations = np.sqrt(np.divide(self._squares, self._count, out=self._squares * 0.0, where=self._count > 0))
        each = (self._count.astype(int), self._low, self._high, self._mean, deviations)
        return [NumberSummary(*values) for values in zip(*(array.tolist() for array in each), strict=True)]


def _numbers(column: Column) -> NDArray[np.float64]:
    assert isinstance(column, NumberColumn)
    return column.values
