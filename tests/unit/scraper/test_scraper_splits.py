"""Splits are the same everywhere and always, and fair to fractions, classes, groups and time."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper_server.tables.schema import ARROW_TYPES, Column, ColumnType
from scraper_server.views.spec import Split, SplitMethod
from scraper_server.views.splits import LEFT_OUT, TEST, TRAIN, VALIDATION, Fractions, Parts, parts_of
from servicekit.errors import InvalidArgument, Reason

SHARES: Fractions = (0.7, 0.15, 0.15)
FIELD = "view.split.method.column"


def split_of(
    method: SplitMethod,
    values: list[object],
    kind: ColumnType = ColumnType.CATEGORICAL,
    shares: Fractions = SHARES,
    seed: int = 0,
) -> Parts:
    column = Column("c", kind)
    array = pa.array(values, ARROW_TYPES[kind])
    return parts_of(Split(method, shares, seed, "c"), shares, len(values), column, array, FIELD)


def random_split(count: int, seed: int, shares: Fractions = SHARES) -> Parts:
    return parts_of(Split(SplitMethod.RANDOM, shares, seed), shares, count, None, None, FIELD)


def test_a_seed_gives_these_rows_for_ever() -> None:
    # Written down once: a change of these rows would change every view that is made from now on.
    assert random_split(12, 42).tolist() == [0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 0, 2]
    assert split_of(SplitMethod.STRATIFIED, list("aabbaabbaabb"), seed=42).tolist() == [
        0,
        0,
        0,
        0,
        0,
        2,
        1,
        0,
        1,
        0,
        0,
        2,
    ]
    assert split_of(SplitMethod.GROUP, list("abcabcdddeef"), seed=-1).tolist() == [0, 1, 0, 0, 1, 0, 2, 2, 2, 0, 0, 0]


@given(count=st.integers(1, 400), seed=st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_a_random_split_has_its_fractions_and_repeats(count: int, seed: int) -> None:
    parts = random_split(count, seed)
    assert np.array_equal(parts, random_split(count, seed))
    counts = np.bincount(parts, minlength=3)
    assert counts[TRAIN] == np.floor(0.7 * count + 0.5)
    assert abs(counts[VALIDATION] - 0.15 * count) <= 1
    assert counts.sum() == count


def test_another_seed_gives_other_rows() -> None:
    assert not np.array_equal(random_split(100, 1), random_split(100, 2))


def test_a_fraction_of_zero_gets_no_row_by_rounding() -> None:
    assert (random_split(7, 3, (0.9, 0.1, 0.0)) != TEST).all()


@given(sizes=st.lists(st.integers(2, 60), min_size=2, max_size=6), seed=st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_a_stratified_split_gives_each_class_its_share(sizes: list[int], seed: int) -> None:
    labels: list[object] = [f"class {at}" for at, size in enumerate(sizes) for _ in range(size)]
    parts = split_of(SplitMethod.STRATIFIED, labels, seed=seed)
    for at, size in enumerate(sizes):
        here = parts[[label == f"class {at}" for label in labels]]
        counts = np.bincount(here, minlength=3)
        assert counts[TRAIN] >= 1
        off = np.abs(counts - np.array(SHARES) * size)
        assert off[TRAIN] <= 1 + 1e-9
        assert off.max() <= 2
    totals = np.bincount(parts, minlength=3)
    assert totals[TRAIN] == np.floor(0.7 * len(labels) + 0.5)
    assert abs(totals[TEST] - totals[VALIDATION]) <= 1


@given(groups=st.lists(st.integers(0, 12), min_size=1, max_size=200), seed=st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_rows_of_one_group_stay_together(groups: list[int], seed: int) -> None:
    parts = split_of(SplitMethod.GROUP, list(groups), ColumnType.INTEGER, seed=seed)
    assert all(len(set(parts[np.array(groups) == group])) == 1 for group in set(groups))


@given(times=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_older_rows_train_and_newer_ones_test(times: list[float]) -> None:
    parts = split_of(SplitMethod.TIME, list(times), ColumnType.FLOAT)
    ordered = parts[np.argsort(times, kind="stable")]
    assert (np.diff(ordered.astype(int)) >= 0).all()
    assert all(len(set(parts[np.array(times) == time])) == 1 for time in set(times))


def test_a_column_says_the_part_and_other_values_leave_the_row_out() -> None:
    values: list[object] = ["train", "validation", "test", "Train", None]
    assert split_of(SplitMethod.COLUMN, values).tolist() == [TRAIN, VALIDATION, TEST, LEFT_OUT, LEFT_OUT]


def test_the_values_of_a_column_that_mean_a_part_are_compared_as_text() -> None:
    split = Split(SplitMethod.COLUMN, SHARES, 0, "c", (("1", "2"), ("3",), ("4",)))
    array = pa.array([1, 2, 3, 4, 5])
    parts = parts_of(split, SHARES, 5, Column("c", ColumnType.INTEGER), array, FIELD)
    assert parts.tolist() == [TRAIN, TRAIN, VALIDATION, TEST, LEFT_OUT]


@pytest.mark.parametrize(
    ("method", "values", "kind", "text"),
    [
        (SplitMethod.TIME, ["a", "b"], ColumnType.TEXT, "column 'c' is text, without order in time"),
        (SplitMethod.TIME, [1, None], ColumnType.INTEGER, "is missing in 1 of 2 rows, first in row 1"),
        (SplitMethod.GROUP, [None, "a"], ColumnType.TEXT, "is missing in 1 of 2 rows, first in row 0"),
        (SplitMethod.STRATIFIED, [0.5, 1.5], ColumnType.FLOAT, "column 'c' is float without classes"),
        (SplitMethod.STRATIFIED, ["a", "b", "c"], ColumnType.TEXT, "has 3 classes in 3 rows"),
    ],
)
def test_a_column_that_can_not_serve_is_named(
    method: SplitMethod, values: list[object], kind: ColumnType, text: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        split_of(method, values, kind)
    assert caught.value.reason is Reason.SPLIT_INVALID
    assert text in caught.value.message
    assert [violation.field for violation in caught.value.violations] == [FIELD]


def test_a_value_can_not_mean_two_parts() -> None:
    split = Split(SplitMethod.COLUMN, SHARES, 0, "c", (("x",), ("x",), ("y",)))
    with pytest.raises(InvalidArgument) as caught:
        parts_of(split, SHARES, 1, Column("c", ColumnType.TEXT), pa.array(["x"]), FIELD)
    assert "value 'x' means both train and validation" in caught.value.message


def test_missing_classes_are_a_class_of_their_own() -> None:
    values: list[object] = ["a"] * 20 + [None] * 20
    parts = split_of(SplitMethod.STRATIFIED, values)
    assert Counter(parts[20:].tolist())[TRAIN] == 14
