"""What is remembered of the values of one column, and what that says of them."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, reductions
from scraper_server.tables.schema import CellExample, ColumnStatistics, ColumnType, NumericStatistics, ValueCount
from scraper_server.tables.statistics.capacity import Capacity
from scraper_server.tables.statistics.counting import NumberCounts, TextCounts
from scraper_server.tables.statistics.describing import (
    are_classes,
    class_balance,
    number_texts,
    numeric_statistics,
    shown_values,
    time_statistics,
    value_counts,
)
from scraper_server.tables.statistics.distinct import DistinctSketch, number_hashes, text_hashes
from scraper_server.tables.statistics.moments import Moments
from scraper_server.tables.statistics.quantiles import QuantileSketch, WeightedValues

RARE_EXAMPLES = 20
KEY_SAMPLE = 1000
KEY_BYTES = 64


class ColumnValues(ABC):
    """The values of a column, seen once and in order."""

    @abstractmethod
    def add(self, cells: Array, first_row: int) -> None:
        """Takes the next cells, the first of which is in this row."""

    @abstractmethod
    def statistics(self, kind: ColumnType, width: int) -> ColumnStatistics:
        """What is known, once all cells were seen, of a column of this type in a table of so many columns."""

    def rare(self, fewer_than: int) -> tuple[int, tuple[CellExample, ...]]:
        """How many values are in fewer rows than that, with the first row of some. None of numbers."""
        return 0, ()

    @property
    def look_like_keys(self) -> bool:
        """True unless the values are long or made of words."""
        return True


class NumberValues(ColumnValues):
    """Numbers, or points in time as whole ones.

    They are kept as they come until they are many; then sorted, and kept as different values with their counts; and if
    those are many too, in sketches.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._room = capacity.values
        self._waiting: list[npt.NDArray[Any]] = []
        self._waiting_count = 0
        self._missing = 0
        self._moments = Moments()
        self._counts: NumberCounts | None = None
        self._sketches: tuple[DistinctSketch, QuantileSketch] | None = None
        self._range: tuple[Any, Any] | None = None

    def add(self, cells: Array, first_row: int) -> None:
        """As ColumnValues says."""
        if cells.null_count:
            self._missing += cells.null_count
            cells = cells.drop_null()
        if pa.types.is_timestamp(cells.type):
            cells = cells.view(pa.int64())
        if len(cells):
            self._waiting.append(cells.to_numpy())
            self._waiting_count += len(cells)
        if self._waiting_count > self._room:
            self._summarize(is_last=False)

    def statistics(self, kind: ColumnType, width: int) -> ColumnStatistics:
        """As ColumnValues says."""
        self._summarize(is_last=True)
        if self._counts is None or self._range is None:
            return ColumnStatistics(count=0, missing_count=self._missing, distinct_count=0)
        counts, is_exact = self._counts, self._sketches is None
        return ColumnStatistics(
            count=self._moments.count,
            missing_count=self._missing,
            distinct_count=len(counts.values) if self._sketches is None else self._sketches[0].estimate(),
            numeric=self._numeric(self._range, counts) if kind.is_numeric else None,
            time=time_statistics(*self._range) if kind is ColumnType.DATETIME else None,
            most_frequent=_most_frequent(counts, kind, width) if kind is not ColumnType.FLOAT else (),
            is_distinct_count_approximate=not is_exact,
            is_most_frequent_approximate=not is_exact and kind is not ColumnType.FLOAT,
            class_balance=class_balance(counts.counts)
            if kind is ColumnType.INTEGER and is_exact and are_classes(counts)
            else None,
        )

    def _numeric(self, ends: tuple[Any, Any], counts: NumberCounts) -> NumericStatistics:
        if self._sketches is None:
            values = WeightedValues(counts.values.astype(np.float64, copy=False), counts.counts)
        else:
            values = self._sketches[1].summary().between(*map(float, ends))
        return numeric_statistics(
            values, self._moments.mean, self._moments.standard_deviation, is_approximate=self._sketches is not None
        )

    def _summarize(self, *, is_last: bool) -> None:
        if not self._waiting:
            return
        run = np.concatenate(self._waiting)
        self._waiting, self._waiting_count, self._room = [], 0, self._capacity.values // 4
        run.sort()
        self._moments.add(run)
        low, high = self._range or (run[0], run[-1])
        self._range = min(low, run[0]), max(high, run[-1])
        new = NumberCounts.of_sorted(run)
        if self._sketches is not None:
            self._sketch(self._sketches, new)
            if run.dtype.kind != "f":  # the most frequent floats say nothing
                self._counts = self._merged(new).most(self._capacity.distinct // 2)
            return
        self._counts = self._merged(new)
        if not is_last and len(self._counts.values) > self._capacity.distinct:
            self._sketches = (
                DistinctSketch(self._capacity.register_bits),
                QuantileSketch(self._capacity.quantile_points),
            )
            self._sketch(self._sketches, self._counts)
            self._counts = self._counts.most(self._capacity.distinct // 2)

    def _merged(self, new: NumberCounts) -> NumberCounts:
        return new if self._counts is None else self._counts.merged(new)

    @staticmethod
    def _sketch(sketches: tuple[DistinctSketch, QuantileSketch], counts: NumberCounts) -> None:
        distinct, quantiles = sketches
        distinct.add(number_hashes(counts.values))
        quantiles.add(WeightedValues(counts.values.astype(np.float64, copy=False), counts.counts.astype(np.float64)))


class BooleanValues(ColumnValues):
    """Two counts."""

    def __init__(self) -> None:
        self._missing = 0
        self._counts = {False: 0, True: 0}
        self._first_rows: dict[bool, int] = {}

    def add(self, cells: Array, first_row: int) -> None:
        """As ColumnValues says."""
        self._missing += cells.null_count
        trues = int(reductions.sum(cells, min_count=0).as_py() or 0)
        for value, count in ((True, trues), (False, len(cells) - cells.null_count - trues)):
            self._counts[value] += count
            if count and value not in self._first_rows:
                self._first_rows[value] = first_row + int(reductions.index(cells, value).as_py())

    def statistics(self, kind: ColumnType, width: int) -> ColumnStatistics:
        """As ColumnValues says."""
        both = NumberCounts(np.array([0, 1]), np.array([self._counts[False], self._counts[True]]))
        counts = NumberCounts(both.values[both.counts > 0], both.counts[both.counts > 0])
        count = sum(self._counts.values())
        share = self._counts[True] / count if count else 0.0
        values = WeightedValues(counts.values.astype(np.float64), counts.counts)
        return ColumnStatistics(
            count=count,
            missing_count=self._missing,
            distinct_count=len(counts.counts),
            numeric=numeric_statistics(values, share, (share * (1 - share)) ** 0.5) if count else None,
            most_frequent=_most_frequent(counts, kind, width),
            class_balance=class_balance(counts.counts),
        )

    def rare(self, fewer_than: int) -> tuple[int, tuple[CellExample, ...]]:
        """As ColumnValues says."""
        found = [value for value, count in self._counts.items() if 0 < count < fewer_than]
        return len(found), tuple(CellExample(self._first_rows[each], value=str(each).lower()) for each in found)


class TextValues(ColumnValues):
    """Strings: different ones with their counts, and if those are many, a sketch and the most frequent."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._waiting: list[tuple[Array, npt.NDArray[np.int64]]] = []
        self._waiting_count = 0
        self._waiting_bytes = 0
        self._missing = 0
        self._count = 0
        self._counts: TextCounts | None = None
        self._distinct: DistinctSketch | None = None
        self._look_like_keys = True

    def add(self, cells: Array, first_row: int) -> None:
        """As ColumnValues says."""
        rows = np.arange(first_row, first_row + len(cells))
        if cells.null_count:
            self._missing += cells.null_count
            rows = rows[kernels.is_valid(cells).to_numpy(zero_copy_only=False)]
            cells = cells.drop_null()
        if not len(cells):
            return
        if not self._count:
            self._look_like_keys = _are_keys(cells[:KEY_SAMPLE])
        self._count += len(cells)
        self._waiting.append((cells, rows))
        self._waiting_count += len(cells)
        self._waiting_bytes += cells.nbytes
        if self._waiting_count >= self._capacity.values // 4 or self._waiting_bytes >= self._capacity.text_bytes:
            self._summarize()

    def statistics(self, kind: ColumnType, width: int) -> ColumnStatistics:
        """As ColumnValues says."""
        self._summarize()
        if self._counts is None:
            return ColumnStatistics(count=0, missing_count=self._missing, distinct_count=0)
        top = self._counts.top(shown_values(width))
        is_exact = self._distinct is None
        return ColumnStatistics(
            count=self._count,
            missing_count=self._missing,
            distinct_count=len(self._counts.counts) if self._distinct is None else self._distinct.estimate(),
            most_frequent=value_counts(top.values, top.counts, width),
            is_distinct_count_approximate=not is_exact,
            is_most_frequent_approximate=not is_exact,
            class_balance=class_balance(self._counts.counts) if kind is ColumnType.CATEGORICAL and is_exact else None,
        )

    def rare(self, fewer_than: int) -> tuple[int, tuple[CellExample, ...]]:
        """As ColumnValues says."""
        if self._counts is None or self._distinct is not None:
            return 0, ()
        found = np.flatnonzero(self._counts.counts < fewer_than)
        shown = found[:RARE_EXAMPLES]
        values = kernels.take(self._counts.values, pa.array(shown)).to_pylist()
        rows = self._counts.rows[shown].tolist()
        examples = (CellExample(row, value=str(value)[:200]) for row, value in zip(rows, values, strict=True))
        return len(found), tuple(examples)

    @property
    def look_like_keys(self) -> bool:
        """As ColumnValues says."""
        return self._look_like_keys

    def _summarize(self) -> None:
        if not self._waiting:
            return
        strings = pa.concat_arrays([cells for cells, _ in self._waiting])
        new = TextCounts.of(strings, np.concatenate([rows for _, rows in self._waiting]))
        self._waiting, self._waiting_count, self._waiting_bytes = [], 0, 0
        counts = new if self._counts is None else TextCounts.merged([self._counts, new])
        limit, limit_bytes = self._capacity.distinct, self._capacity.text_bytes
        if self._distinct is None and len(counts.counts) <= limit and counts.size_bytes <= limit_bytes:
            self._counts = counts
            return
        if self._distinct is None:
            self._distinct = DistinctSketch(self._capacity.register_bits)
            new = counts
        self._distinct.add(text_hashes(new.values))
        self._counts = counts.most(limit // 2, limit_bytes // 2)


def _most_frequent(counts: NumberCounts, kind: ColumnType, width: int) -> tuple[ValueCount, ...]:
    top = counts.top(shown_values(width))
    return value_counts(number_texts(top.values, kind), top.counts, width)


def _are_keys(strings: Array) -> bool:
    """True if the strings are short, and most have no space in them."""
    with_space = int(reductions.sum(kernels.match_substring(strings, " ")).as_py() or 0)
    return len(strings) >= 10 * with_space and strings.nbytes <= KEY_BYTES * len(strings)
