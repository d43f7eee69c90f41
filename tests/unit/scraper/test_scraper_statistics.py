"""Statistics: those of numpy and pandas as long as they are exact, and within what they promise where they are not."""

import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper_server.tables.schema import Column, ColumnStatistics, ColumnType, TableWarning, WarningKind
from scraper_server.tables.statistics.capacity import Capacity
from scraper_server.tables.statistics.columns import ColumnValues, NumberValues, TextValues
from scraper_server.tables.statistics.profile import TableProfile

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SMALL = Capacity(values=4000, distinct=1000, text_bytes=32_000, quantile_points=256, register_bits=12)


def profiled(
    kind: ColumnType, cells: Sequence[Any], pieces: int = 1
) -> tuple[ColumnStatistics, tuple[TableWarning, ...]]:
    """What is known of a column whose cells come in pieces."""
    column = Column("c", kind)
    array = pa.array(cells, column.arrow_type)
    profile = TableProfile(pa.schema([("c", column.arrow_type)]), parts=1)
    ends = np.linspace(0, len(cells), pieces + 1).astype(int).tolist()
    for start, end in itertools.pairwise(ends):
        for step in profile.steps:
            step(pa.record_batch([array[start:end]], names=["c"]))
    (found,), warnings = profile.described((column,), lambda _: None)
    assert found.statistics is not None
    return found.statistics, warnings


def statistics(kind: ColumnType, cells: Sequence[Any], pieces: int = 1) -> ColumnStatistics:
    return profiled(kind, cells, pieces)[0]


def sketched(values: ColumnValues, cells: npt.NDArray[Any] | list[str], kind: ColumnType) -> ColumnStatistics:
    """What is known of cells that are too many to be kept."""
    for start in range(0, len(cells), 700):
        values.add(pa.array(cells[start : start + 700]), start)
    return values.statistics(kind, width=1)


@given(st.lists(st.none() | FLOATS, min_size=1), st.integers(1, 4))
def test_floats_are_described_as_numpy_does(cells: list[float | None], pieces: int) -> None:
    known = statistics(ColumnType.FLOAT, cells, pieces)
    present = np.array([cell for cell in cells if cell is not None], np.float64)
    assert (known.count, known.missing_count) == (len(present), len(cells) - len(present))
    assert known.distinct_count == len(set(present.tolist()))
    assert known.most_frequent == ()
    if not len(present):
        assert known.numeric is None
        return
    numeric = known.numeric
    assert numeric is not None
    assert (numeric.minimum, numeric.maximum) == (present.min(), present.max())
    scale = float(np.abs(present).max()) or 1.0  # numpy itself overflows near the ends of the range
    shrunk = present / scale
    slack = max(1e-12, 4 * math.ulp(0.0) / scale)  # the smallest numbers of all have few digits
    assert numeric.mean / scale == pytest.approx(float(shrunk.mean()), abs=slack)
    assert numeric.standard_deviation / scale == pytest.approx(float(shrunk.std()), abs=max(1e-7, slack))
    expected = [float(each) for each in np.quantile(shrunk, [0.05, 0.25, 0.5, 0.75, 0.95])]
    assert [each.value / scale for each in numeric.quantiles] == pytest.approx(expected, abs=slack)
    assert sum(each.count for each in numeric.histogram) == len(present)
    for bar in numeric.histogram[:-1]:
        assert bar.count == np.count_nonzero((bar.lower <= present) & (present < bar.upper))
    assert all(math.isfinite(bar.lower) and math.isfinite(bar.upper) for bar in numeric.histogram)


@given(st.lists(st.none() | INTEGERS | st.integers(0, 5), min_size=1), st.integers(1, 4))
def test_integers_are_counted_to_the_last_bit(cells: list[int | None], pieces: int) -> None:
    known = statistics(ColumnType.INTEGER, cells, pieces)
    counts = pd.Series([cell for cell in cells if cell is not None], dtype="Int64").value_counts()
    assert known.distinct_count == len(counts)
    ranked = sorted(counts.items(), key=lambda each: (-each[1], int(str(each[0]))))
    assert [(each.value, each.count) for each in known.most_frequent] == [(str(v), n) for v, n in ranked[:20]]


@given(st.lists(st.none() | st.text(max_size=3), min_size=1), st.integers(1, 4))
def test_strings_are_counted_as_pandas_does(cells: list[str | None], pieces: int) -> None:
    known = statistics(ColumnType.CATEGORICAL, cells, pieces)
    present = [cell for cell in cells if cell is not None]
    counts = {value: present.count(value) for value in present}
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0].encode()))
    assert (known.count, known.missing_count, known.distinct_count) == (
        len(present),
        len(cells) - len(present),
        len(counts),
    )
    assert [(each.value, each.count) for each in known.most_frequent] == ranked[:20]
    if counts:
        shares = np.array(list(counts.values())) / len(present)
        assert known.class_balance is not None
        assert known.class_balance.largest_share == pytest.approx(shares.max())
        assert known.class_balance.smallest_share == pytest.approx(shares.min())
        entropy = -(shares * np.log(shares)).sum()
        assert known.class_balance.evenness == pytest.approx(entropy / np.log(len(counts)) if len(counts) > 1 else 0.0)


@given(st.lists(st.none() | st.booleans(), min_size=1), st.integers(1, 4))
def test_booleans_are_zeros_and_ones(cells: list[bool | None], pieces: int) -> None:
    known = statistics(ColumnType.BOOLEAN, cells, pieces)
    present = [cell for cell in cells if cell is not None]
    assert known.count == len(present)
    assert {each.value: each.count for each in known.most_frequent} == {
        str(value).lower(): present.count(value) for value in set(present)
    }
    if present:
        assert known.numeric is not None
        assert known.numeric.mean == pytest.approx(np.mean(present))
        assert known.numeric.standard_deviation == pytest.approx(np.std(present))


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1))
def test_the_range_of_times_is_theirs_to_the_microsecond(zoned: list[datetime]) -> None:
    known = statistics(ColumnType.DATETIME, zoned)
    assert known.time is not None
    assert (known.time.minimum, known.time.maximum) == (min(zoned), max(zoned))
    assert known.numeric is None
    assert known.distinct_count == len(set(zoned))


@settings(max_examples=20)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_moments_do_not_overflow_in_any_order_of_magnitude(cells: list[float]) -> None:
    values = NumberValues(Capacity(values=1, distinct=10, text_bytes=10, quantile_points=4, register_bits=12))
    for at, cell in enumerate(cells):
        values.add(pa.array([cell]), at)
    numeric = values.statistics(ColumnType.FLOAT, 1).numeric
    assert numeric is not None
    scale = max(map(abs, cells)) or 1.0
    assert numeric.mean / scale == pytest.approx(np.mean(np.array(cells) / scale), abs=1e-12)
    assert numeric.standard_deviation / scale == pytest.approx(np.std(np.array(cells) / scale), abs=1e-7)


def test_a_large_mean_takes_no_digits_from_a_small_deviation() -> None:
    numbers = 1e9 + np.random.default_rng(0).normal(0, 1e-3, 100_000)
    known = sketched(NumberValues(SMALL), numbers, ColumnType.FLOAT)
    assert known.numeric is not None
    assert known.numeric.standard_deviation == pytest.approx(numbers.std(), rel=1e-6)


@pytest.mark.parametrize("shape", ["normal", "exponential", "sorted", "heavy"])
def test_distributions_are_estimated_within_what_they_promise(shape: str) -> None:
    random = np.random.default_rng(5)
    numbers = {
        "normal": random.normal(size=200_000),
        "exponential": random.exponential(size=200_000),
        "sorted": np.arange(200_000.0),
        "heavy": np.where(random.random(200_000) < 0.6, 7.0, random.normal(size=200_000)),
    }[shape]
    known = sketched(NumberValues(SMALL), numbers, ColumnType.FLOAT)
    numeric = known.numeric
    assert numeric is not None
    assert numeric.is_distribution_approximate
    assert known.is_distinct_count_approximate
    assert known.distinct_count == pytest.approx(len(np.unique(numbers)), rel=0.05)  # three standard errors
    assert (numeric.minimum, numeric.maximum) == (numbers.min(), numbers.max())
    assert numeric.mean == pytest.approx(numbers.mean())
    ordered = np.sort(numbers)
    for each in numeric.quantiles:
        first, last = (
            np.searchsorted(ordered, [each.value, each.value], "left")[0],
            np.searchsorted(ordered, each.value, "right"),
        )
        assert first / len(numbers) - 0.01 <= each.probability <= last / len(numbers) + 0.01
    assert sum(bar.count for bar in numeric.histogram) == len(numbers)
    for bar in numeric.histogram[:-1]:
        truth = np.count_nonzero((bar.lower <= numbers) & (numbers < bar.upper))
        assert abs(bar.count - truth) <= 0.02 * len(numbers)


def test_frequent_values_are_found_among_many_and_never_overcounted() -> None:
    random = np.random.default_rng(2)
    numbers = np.where(
        random.random(100_000) < 0.05, random.integers(0, 3, 100_000), random.integers(10, 10**9, 100_000)
    )
    true = pd.Series(numbers).value_counts()
    for known in (
        sketched(NumberValues(SMALL), numbers, ColumnType.INTEGER),
        sketched(TextValues(SMALL), [str(number) for number in numbers], ColumnType.TEXT),
    ):
        assert known.is_most_frequent_approximate
        assert {"0", "1", "2"} == {each.value for each in known.most_frequent[:3]}
        for each in known.most_frequent[:3]:
            assert 0.5 * true[int(each.value)] < each.count <= true[int(each.value)]
        assert known.distinct_count == pytest.approx(len(true), rel=0.05)


def test_many_rows_of_few_numbers_stay_exact() -> None:
    numbers = np.arange(50_000) % 900
    known = sketched(NumberValues(SMALL), numbers, ColumnType.INTEGER)
    assert known.numeric is not None
    assert not known.is_distinct_count_approximate
    assert not known.is_most_frequent_approximate
    assert not known.numeric.is_distribution_approximate
    assert known.distinct_count == 900
    assert known.numeric.quantiles[2].value == np.median(numbers)


def test_equal_tables_have_equal_estimates_however_their_rows_come() -> None:
    numbers = np.random.default_rng(3).normal(size=30_000)
    assert sketched(NumberValues(SMALL), numbers, ColumnType.FLOAT) == sketched(
        NumberValues(SMALL), numbers, ColumnType.FLOAT
    )


@pytest.mark.parametrize(
    ("kind", "cells", "warned"),
    [
        (ColumnType.INTEGER, list(range(1000)), WarningKind.COLUMN_ID_LIKE),
        (ColumnType.TEXT, [f"user-{at}" for at in range(1000)], WarningKind.COLUMN_ID_LIKE),
        (ColumnType.TEXT, [f"a note of words, number {at}" for at in range(1000)], None),
        (ColumnType.FLOAT, [at + 0.5 for at in range(1000)], None),
        (ColumnType.DATETIME, list(range(1000)), None),
        (ColumnType.INTEGER, [at // 2 for at in range(1000)], None),
        (ColumnType.INTEGER, list(range(10)), None),
        (ColumnType.INTEGER, [None] * 30, WarningKind.COLUMN_EMPTY),
        (ColumnType.FLOAT, [0.5] * 30, WarningKind.COLUMN_CONSTANT),
        (ColumnType.CATEGORICAL, ["a"] * 50 + ["b"] * 5, None),
        (ColumnType.CATEGORICAL, ["a"] * 50 + ["b"] * 4, WarningKind.CLASS_RARE),
        (ColumnType.BOOLEAN, [True] * 50 + [False] * 4, WarningKind.CLASS_RARE),
    ],
)
def test_columns_are_warned_of(kind: ColumnType, cells: list[Any], warned: WarningKind | None) -> None:
    assert [each.kind for each in profiled(kind, cells)[1]] == ([warned] if warned else [])


def test_rare_classes_are_named_with_their_first_rows() -> None:
    cells = ["rose"] * 40 + ["tulip", "iris", None, "tulip"] + ["rose"] * 40
    ((warning,), known) = profiled(ColumnType.CATEGORICAL, cells, pieces=5)[::-1]
    assert known.class_balance is not None
    assert (known.class_balance.class_count, warning.count) == (3, 2)
    assert [(each.row, each.value) for each in warning.examples] == [(40, "tulip"), (41, "iris")]
    assert "2 of its 3 classes are in fewer than 5 rows" in warning.message


def test_few_whole_numbers_are_classes() -> None:
    rated = statistics(ColumnType.INTEGER, [1, 2, 2, 3, 3, 3, 3, 3])
    assert rated.class_balance is not None
    assert (rated.class_balance.class_count, rated.class_balance.largest_share) == (3, 5 / 8)
    assert statistics(ColumnType.INTEGER, list(range(100))).class_balance is None


def test_columns_that_are_alike_are_named_up_to_a_hundred() -> None:
    columns = tuple(Column(f"c{at}", ColumnType.FLOAT) for at in range(130))
    profile = TableProfile(pa.schema([(column.name, pa.float64()) for column in columns]), parts=2)
    rows = pa.record_batch([pa.array([None], pa.float64())] * 130, names=[column.name for column in columns])
    for step in profile.steps:
        step(rows)
    _, warnings = profile.described(columns, lambda _: None)
    assert [each.column for each in warnings] == [*(f"c{at}" for at in range(100)), ""]
    assert warnings[-1].count == 30
    assert warnings[-1].message == "30 more columns as this one: column 'c0' has no value in any row"
