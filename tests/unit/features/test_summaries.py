"""What is learned of rows some at a time is what is learned of all of them at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_server.features.columns import ColumnType, NumberColumn, TextColumn
from ml_server.features.summaries import NumberSummary, Summaries, TextSummary, categories_of

NUMBER = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))
COLUMNS = {"a": ColumnType.FLOAT, "b": ColumnType.INTEGER}


@given(st.lists(st.lists(st.tuples(NUMBER, NUMBER), max_size=6), max_size=5))
def test_numbers_are_summed_up_in_any_portions(portions: list[list[tuple[float, float]]]) -> None:
    summaries = Summaries(COLUMNS, {})
    for portion in portions:
        values = np.array(portion, dtype=np.float64).reshape(-1, 2)
        summaries.add({"a": NumberColumn(values[:, 0]), "b": NumberColumn(values[:, 1])})
    everything = np.array([row for portion in portions for row in portion], dtype=np.float64).reshape(-1, 2)
    for at, summary in enumerate(summaries.columns.values()):
        known = everything[:, at][~np.isnan(everything[:, at])]
        assert isinstance(summary, NumberSummary)
        assert summary.count == len(known)
        if len(known):
            assert (summary.low, summary.high) == (known.min(), known.max())
            assert summary.mean == pytest.approx(known.mean(), rel=1e-9, abs=1e-6)
            assert summary.deviation == pytest.approx(known.std(), rel=1e-6, abs=1e-6)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    values = 1e9 + np.random.default_rng(1).normal(size=100_000)
    summaries = Summaries({"a": ColumnType.FLOAT}, {})
    for portion in np.array_split(values, 13):
        summaries.add({"a": NumberColumn(portion)})
    summary = summaries.columns["a"]
    assert isinstance(summary, NumberSummary)
    assert summary.scaling == pytest.approx((values.mean(), values.std()), rel=1e-9)


def test_equal_numbers_have_a_deviation_of_1() -> None:
    summaries = Summaries({"a": ColumnType.FLOAT}, {})
    for portion in np.array_split(np.full(1001, 0.1), 7):
        summaries.add({"a": NumberColumn(portion)})
    summary = summaries.columns["a"]
    assert isinstance(summary, NumberSummary)
    assert summary.scaling == (0.1, 1.0)


def test_categories_are_those_of_all_portions_that_have_rows() -> None:
    summaries = Summaries({"a": ColumnType.CATEGORICAL, "on": ColumnType.BOOLEAN}, {})
    for words, codes in ((["x", "unused", "b"], [0, -1, 2]), (["a", "x"], [0, 0, 1])):
        flags = NumberColumn(np.array([1.0, np.nan, 1.0]))
        summaries.add({"a": TextColumn(words, np.array(codes)), "on": flags})
    assert summaries.columns["a"] == TextSummary(("a", "b", "x"))
    assert categories_of(summaries.columns["on"], ColumnType.BOOLEAN) == ("true",)
