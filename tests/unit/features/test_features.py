"""How columns become features: fitted once, replayed alike for training rows and for what a prediction sends."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml_server.features.columns import Column, ColumnType, NumberColumn, arrow_column
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import InputColumn, expected_layout, fit
from ml_server.networks.kinds import Encoding
from ml_server.networks.specification import ColumnEncoding, Preprocessing
from ml_server.prediction.inputs import columns_of
from ml_server.prediction.raw import RawColumn
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from tests.summarized import summarized

IMAGES = ImageDecoder(max_pixels=10_000)

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DATETIME: pa.timestamp("us", "UTC"),
    ColumnType.CATEGORICAL: pa.string(),
    ColumnType.TEXT: pa.string(),
}
NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)  # a Friday


def column(values: Sequence[Any], kind: ColumnType) -> Column:
    """The values as a view streams them."""
    return arrow_column(pa.chunked_array([pa.array(values, ARROW_TYPES[kind])]), kind)


def fitted(values: Sequence[Any], kind: ColumnType, encoding: Encoding | None = None, **known: Any) -> FittedFeatures:
    """The features of a table with the one input column `x`."""
    asked = (ColumnEncoding(column="x", encoding=encoding),) if encoding else ()
    inputs = [InputColumn("x", kind, **known)]
    return fit(inputs, Preprocessing(columns=asked), summarized(inputs, {"x": column(values, kind)}))


def encoded(features: FittedFeatures, values: Sequence[Any], kind: ColumnType) -> NDArray[np.float32]:
    return features.transform({"x": column(values, kind)})


def test_numbers_are_standardised_by_the_training_rows() -> None:
    features = fitted([1.0, 3.0, 5.0], ColumnType.FLOAT)
    np.testing.assert_allclose(
        encoded(features, [1, 3, 5, 7], ColumnType.FLOAT)[:, 0],
        (np.array([1.0, 3.0, 5.0, 7.0]) - 3) / np.std([1, 3, 5]),
        rtol=1e-6,
    )


def test_min_max_goes_from_0_to_1_in_training_and_may_leave_it_later() -> None:
    features = fitted([10, 20, 30], ColumnType.INTEGER, Encoding.MIN_MAX)
    assert encoded(features, [10, 15, 30, 40], ColumnType.INTEGER)[:, 0].tolist() == [0.0, 0.25, 1.0, 1.5]


def test_pass_through_leaves_numbers_as_they_are() -> None:
    features = fitted([10, 20, 30], ColumnType.INTEGER, Encoding.PASS_THROUGH)
    assert encoded(features, [7, -2], ColumnType.INTEGER)[:, 0].tolist() == [7.0, -2.0]


def test_the_numeric_encoding_of_the_whole_view_gives_way_to_that_of_a_column() -> None:
    inputs = [InputColumn("a", ColumnType.FLOAT), InputColumn("b", ColumnType.FLOAT)]
    own = (ColumnEncoding(column="b", encoding=Encoding.PASS_THROUGH),)
    rows = {name: NumberColumn(np.array([2.0, 4.0])) for name in "ab"}
    features = fit(inputs, Preprocessing(columns=own, numeric_encoding=Encoding.MIN_MAX), summarized(inputs, rows))
    assert features.transform(rows).tolist() == [[0.0, 2.0], [1.0, 4.0]]


# The mean of many 0.1 is not 0.1, and their deviation by rounding not 0.
@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, 1e17])
@pytest.mark.parametrize("encoding", [Encoding.STANDARDIZE, Encoding.MIN_MAX])
def test_a_constant_column_becomes_0_and_other_values_stay_small(value: float, encoding: Encoding) -> None:
    features = fitted([value] * 1000, ColumnType.FLOAT, encoding)
    assert encoded(features, [value, value], ColumnType.FLOAT).tolist() == [[0.0], [0.0]]
    np.testing.assert_allclose(encoded(features, [value + 1], ColumnType.FLOAT)[0, 0], value + 1 - value)


def test_categories_become_one_feature_each_and_one_for_the_unknown() -> None:
    features = fitted(["b", "a", "b", None], ColumnType.CATEGORICAL, category_count=2)
    assert encoded(features, ["a", "b", "never", None], ColumnType.CATEGORICAL).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
    ]


def test_many_categories_become_codes_for_a_learned_vector_after_the_numbers() -> None:
    names = [f"city-{number:02}" for number in range(17)]
    inputs = [
        InputColumn("city", ColumnType.CATEGORICAL, category_count=17),
        InputColumn("size", ColumnType.FLOAT),
    ]
    rows = {"city": column(names, ColumnType.CATEGORICAL), "size": NumberColumn(np.arange(17.0))}
    features = fit(inputs, Preprocessing(numeric_encoding=Encoding.PASS_THROUGH), summarized(inputs, rows))
    (embedding,) = features.layout.embeddings
    assert (embedding.name, embedding.categories, embedding.dim) == ("city", 18, round(4 * 18**0.25))
    assert features.layout.columns == 2
    asked = {"city": column(["city-03", "elsewhere"], ColumnType.CATEGORICAL), "size": NumberColumn(np.array([8.0, 9]))}
    assert features.transform(asked).tolist() == [[8.0, 3.0], [9.0, 17.0]]


def test_a_vector_has_the_size_that_is_asked_for() -> None:
    own = (ColumnEncoding(column="x", encoding=Encoding.EMBEDDING, embedding_dim=7),)
    known = InputColumn("x", ColumnType.CATEGORICAL, category_count=2)
    features = fit(
        [known], Preprocessing(columns=own), summarized([known], {"x": column(["a", "b"], ColumnType.CATEGORICAL)})
    )
    assert features.layout == expected_layout([known], Preprocessing(columns=own))
    assert [each.dim for each in features.layout.embeddings] == [7]


def test_booleans_are_0_and_1_or_two_categories_and_the_unknown() -> None:
    plain = fitted([True, False], ColumnType.BOOLEAN, category_count=2)
    assert encoded(plain, [True, False], ColumnType.BOOLEAN).tolist() == [[1.0], [0.0]]
    one_hot = fitted([True, False], ColumnType.BOOLEAN, Encoding.ONE_HOT, category_count=2)
    assert encoded(one_hot, [True, False, None], ColumnType.BOOLEAN).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_time_becomes_its_place_in_day_week_and_year() -> None:
    features = fitted([NOON, NOON + timedelta(days=2)], ColumnType.DATETIME)
    assert features.layout.dense == 7
    made = encoded(features, [NOON, NOON + timedelta(days=2)], ColumnType.DATETIME)
    assert made[:, 0].tolist() == [-1.0, 1.0]
    np.testing.assert_allclose(made[:, 1:3], [[0.0, -1.0]] * 2, atol=1e-6)  # noon is half a turn
    days = (NOON - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    for place, period in ((3, 7.0), (5, 365.2425)):
        angle = 2 * np.pi * days / period
        np.testing.assert_allclose(made[0, place : place + 2], [np.sin(angle), np.cos(angle)], atol=1e-5)


def test_missing_values_become_the_views_filling() -> None:
    numbers = fitted([1.0, 3.0], ColumnType.FLOAT, Encoding.PASS_THROUGH, fill="2.5")
    assert encoded(numbers, [None, 1.0], ColumnType.FLOAT)[:, 0].tolist() == [2.5, 1.0]
    words = fitted(["a", "b"], ColumnType.CATEGORICAL, fill="b", category_count=2)
    assert encoded(words, [None, "a"], ColumnType.CATEGORICAL).tolist() == [[0, 1, 0], [1, 0, 0]]
    times = fitted([NOON, NOON + timedelta(days=2)], ColumnType.DATETIME, fill="2024-05-19T12:00:00Z")
    assert encoded(times, [None], ColumnType.DATETIME)[0, 0] == 1.0
    flags = fitted([True, False], ColumnType.BOOLEAN, fill="true", category_count=2)
    assert encoded(flags, [None], ColumnType.BOOLEAN).tolist() == [[1.0]]


def test_whole_numbers_beyond_what_a_float_holds_are_rounded_and_not_refused() -> None:
    features = fitted([2**60 + 1, 0], ColumnType.INTEGER, Encoding.PASS_THROUGH)
    assert encoded(features, [2**60 + 1], ColumnType.INTEGER).tolist() == [[float(2**60)]]
    far = datetime(9999, 12, 31, tzinfo=UTC)  # how tables say "never"
    assert np.isfinite(encoded(fitted([NOON, far], ColumnType.DATETIME), [far], ColumnType.DATETIME)).all()


def test_more_rows_than_are_computed_at_a_time_are_all_there() -> None:
    values = np.arange(70_000.0)
    features = fitted([0.0, 1.0], ColumnType.FLOAT, Encoding.PASS_THROUGH)
    np.testing.assert_array_equal(features.transform({"x": NumberColumn(values)})[:, 0], values)


def test_fitted_features_survive_their_own_json() -> None:
    features = fitted(["b", "a"], ColumnType.CATEGORICAL, category_count=2)
    assert FittedFeatures.model_validate_json(features.model_dump_json()) == features


@pytest.mark.parametrize("of", [expected_layout, lambda inputs, preprocessing: fit(inputs, preprocessing, {})])
@pytest.mark.parametrize(
    ("kind", "asked", "reason", "field", "text"),
    [
        (
            ColumnType.FLOAT,
            ColumnEncoding(column="y", encoding=Encoding.MIN_MAX),
            Reason.COLUMN_NOT_FOUND,
            "specification.preprocessing.columns[0].column",
            "no input column 'y'; it has 'x'",
        ),
        (
            ColumnType.CATEGORICAL,
            ColumnEncoding(column="x", encoding=Encoding.STANDARDIZE),
            Reason.COLUMN_UNSUPPORTED,
            "specification.preprocessing.columns[0].encoding",
            "column 'x' is CATEGORICAL and can't be encoded by STANDARDIZE: take ONE_HOT, EMBEDDING",
        ),
        (
            ColumnType.INTEGER,
            ColumnEncoding(column="x", encoding=Encoding.ONE_HOT),
            Reason.COLUMN_UNSUPPORTED,
            "specification.preprocessing.columns[0].encoding",
            "take STANDARDIZE, PASS_THROUGH, MIN_MAX, or cast it to CATEGORICAL in the view",
        ),
        (
            ColumnType.DATETIME,
            ColumnEncoding(column="x", encoding=Encoding.PASS_THROUGH),
            Reason.COLUMN_UNSUPPORTED,
            "specification.preprocessing.columns[0].encoding",
            "take STANDARDIZE, MIN_MAX, TIME_PARTS",
        ),
        (
            ColumnType.TEXT,
            None,
            Reason.COLUMN_UNSUPPORTED,
            "view",
            "'x' is free text, which has no encoding of its own: leave it out of the view",
        ),
    ],
)
def test_a_column_that_can_not_serve_is_named_with_the_remedy(
    of: Callable[[list[InputColumn], Preprocessing], object],
    kind: ColumnType,
    asked: ColumnEncoding | None,
    reason: Reason,
    field: str,
    text: str,
) -> None:
    preprocessing = Preprocessing(columns=(asked,) if asked else ())
    with pytest.raises(InvalidArgument) as refused:
        of([InputColumn("x", kind)], preprocessing)
    assert refused.value.reason is reason
    assert [violation.field for violation in refused.value.violations] == [field]
    assert text in refused.value.message


# What follows holds for every table: the size that is promised before training is the size that training finds, and a
# row gives the same features whether a view streams it or somebody sends it.
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001
VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.INTEGER: st.integers(-(2**40), 2**40),
    ColumnType.FLOAT: st.floats(-1e6, 1e6).map(lambda number: round(number, 3)),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.DATETIME: TIMES,
    ColumnType.CATEGORICAL: st.sampled_from([f"kind {number}" for number in range(40)]),
    ColumnType.TEXT: st.text("abcé", max_size=3),
}
POSSIBLE = {
    ColumnType.INTEGER: [Encoding.STANDARDIZE, Encoding.MIN_MAX, Encoding.PASS_THROUGH],
    ColumnType.FLOAT: [Encoding.STANDARDIZE, Encoding.MIN_MAX, Encoding.PASS_THROUGH],
    ColumnType.BOOLEAN: [Encoding.STANDARDIZE, Encoding.PASS_THROUGH, Encoding.ONE_HOT, Encoding.EMBEDDING],
    ColumnType.DATETIME: [Encoding.STANDARDIZE, Encoding.MIN_MAX, Encoding.TIME_PARTS],
    ColumnType.CATEGORICAL: [Encoding.ONE_HOT, Encoding.EMBEDDING],
    ColumnType.TEXT: [Encoding.ONE_HOT, Encoding.EMBEDDING],
}
Table = tuple[dict[str, list[Any]], list[InputColumn], Preprocessing]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Values by column, with what a view says of them and how they are to be encoded."""
    rows = draw(st.integers(1, 30))
    values, inputs, asked = {}, [], []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(list(ARROW_TYPES)))
        name = f"{number}:{kind}"
        keeps_missing = kind.is_textual and draw(st.booleans())
        values[name] = draw(
            st.lists(st.none() | VALUES[kind] if keeps_missing else VALUES[kind], min_size=rows, max_size=rows)
        )
        has_categories = kind.is_textual or kind is ColumnType.BOOLEAN
        count = len({value for value in values[name] if value is not None}) if has_categories else 0
        inputs.append(InputColumn(name, kind, keeps_missing=keeps_missing, category_count=count))
        if kind is ColumnType.TEXT or draw(st.booleans()):
            asked.append(ColumnEncoding(column=name, encoding=draw(st.sampled_from(POSSIBLE[kind]))))
    return values, inputs, Preprocessing(columns=tuple(asked))


def streamed(values: dict[str, list[Any]], inputs: list[InputColumn]) -> dict[str, Column]:
    return {each.name: column(values[each.name], each.type) for each in inputs}


def sent(values: list[Any], kind: ColumnType, as_rows: bool) -> RawColumn:
    """The values as a caller sends them: by column, or in rows of JSON, which knows no whole numbers and no times."""
    missing = frozenset(row for row, value in enumerate(values) if value is None)
    if kind is ColumnType.DATETIME:
        return RawColumn([value.isoformat() for value in values], missing)
    if kind.is_textual:
        return RawColumn([value or "" for value in values], missing)
    types = {ColumnType.INTEGER: np.int64, ColumnType.BOOLEAN: np.bool_, ColumnType.FLOAT: np.float64}
    is_number = as_rows and kind is not ColumnType.BOOLEAN
    return RawColumn(np.array(values, dtype=np.float64 if is_number else types[kind]), missing)


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_the_layout_is_known_before_training(table: Table) -> None:
    values, inputs, preprocessing = table
    features = fit(inputs, preprocessing, summarized(inputs, streamed(values, inputs)))
    assert features.layout == expected_layout(inputs, preprocessing)
    assert features.transform(streamed(values, inputs)).shape == (len(values[inputs[0].name]), features.layout.columns)


@settings(max_examples=60, deadline=None)
@given(table=tables(), as_rows=st.booleans())
def test_a_row_has_the_same_features_streamed_and_sent(table: Table, as_rows: bool) -> None:
    values, inputs, preprocessing = table
    features = fit(inputs, preprocessing, summarized(inputs, streamed(values, inputs)))
    raw = {each.name: sent(values[each.name], each.type, as_rows) for each in inputs}
    np.testing.assert_array_equal(
        features.transform(columns_of(features, raw, IMAGES)), features.transform(streamed(values, inputs))
    )


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        (pa.bool_(), [1.0, 0.0, 1.0]),
        (pa.int64(), [1.0, 12_345_678_901.0, 1e10, 1e15]),
        (pa.float64(), [1.0, 12_345_678_901.0, 1e10, 1e15, 0.25, 1e-7]),
    ],
)
def test_a_number_that_a_view_casts_to_a_category_is_known_again(source: pa.DataType, numbers: list[float]) -> None:
    original = pa.array(numbers, pa.float64())
    typed = original.cast(source)
    known = arrow_column(pa.chunked_array([typed.cast(pa.string())]), ColumnType.CATEGORICAL)
    view = InputColumn("x", ColumnType.CATEGORICAL, category_count=len(set(numbers)))
    features = fit([view], Preprocessing(), summarized([view], {"x": known}))
    forms = [typed.to_numpy(zero_copy_only=False)]
    if source != pa.bool_():
        forms.append(original.to_numpy())  # as JSON has them
    for form in forms:
        made = features.transform(columns_of(features, {"x": RawColumn(form)}, IMAGES))
        np.testing.assert_array_equal(made, features.transform({"x": known}))
        assert not made[:, -1].any()  # nothing is unknown
