"""What the preprocessing of a base version does for the columns of another view."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_server.features.columns import Column, Columns, ColumnType, NumberColumn, TextColumn
from ml_server.features.encodings import CategoryEncoding, NumberEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import InputColumn, expected_layout, fit
from ml_server.features.reuse import arranged, known_encodings, known_targets, unknown_categories
from ml_server.features.targets import FittedTargets, TargetColumn, expected_outputs, fit_targets
from ml_server.networks.kinds import Encoding
from ml_server.networks.specification import ColumnEncoding, Preprocessing
from servicekit.errors import InvalidArgument, Reason
from tests.summarized import summarized

A = InputColumn("a", ColumnType.FLOAT, fill="7")
CITY = InputColumn("city", ColumnType.CATEGORICAL, category_count=2, keeps_missing=True)
KIND = TargetColumn("kind", ColumnType.CATEGORICAL, 3)
PLAIN = Preprocessing()


def numbers(*values: float) -> NumberColumn:
    return NumberColumn(np.array(values, dtype=np.float64))


def texts(*values: str) -> TextColumn:
    return TextColumn(values, np.arange(len(values)))


BASE = fit([A, CITY], PLAIN, summarized([A, CITY], {"a": numbers(0, 10), "city": texts("Bern", "Chur")}))
BASE_TARGETS = fit_targets([KIND], summarized((), {"kind": texts("x", "y", "z")}, [KIND]))


def tuned(inputs: Sequence[InputColumn], preprocessing: Preprocessing, columns: Columns) -> FittedFeatures:
    in_place = arranged(inputs, BASE.columns)
    known = known_encodings(in_place, preprocessing, BASE)
    fitted = fit(in_place, preprocessing, summarized(in_place, columns), known)
    assert fitted.layout == expected_layout(in_place, preprocessing, known)
    return fitted


def test_known_columns_keep_their_numbers_and_places_and_others_take_what_is_left() -> None:
    b = InputColumn("b", ColumnType.FLOAT)
    rows: dict[str, Column] = {"a": numbers(100, 300), "b": numbers(1, 3), "city": texts("Chur", "Davos")}
    fitted = tuned([b, CITY, A], PLAIN, rows)
    assert [column.name for column in fitted.columns] == ["a", "city", "b"]
    # (100 - 5) / 5: by the mean and deviation of 0 and 10; Davos is as unknown as a missing value.
    np.testing.assert_allclose(fitted.transform(rows), [[19, 0, 1, 0, -1], [59, 0, 0, 1, 1]])
    city = fitted.columns[1]
    assert isinstance(city.encoding, CategoryEncoding)
    assert unknown_categories(summarized([CITY], rows)["city"], city.type, city.encoding) == ["Davos"]


def test_what_the_view_puts_in_the_place_of_missing_values_is_its_own() -> None:
    (column,) = tuned([InputColumn("a", ColumnType.INTEGER, fill="3")], PLAIN, {"a": numbers(1, 2)}).columns
    assert (column.fill, column.type, column.encoding) == (3.0, ColumnType.INTEGER, BASE.columns[0].encoding)


@given(st.lists(st.sampled_from("abcdefg"), unique=True), st.lists(st.sampled_from("abcdefg"), unique=True))
def test_every_column_has_a_place_and_known_ones_theirs_if_none_is_missing(given: list[str], known: list[str]) -> None:
    def columns(names: list[str]) -> list[InputColumn]:
        return [InputColumn(name, ColumnType.FLOAT) for name in names]

    placed = [column.name for column in arranged(columns(given), columns(known))]
    assert sorted(placed) == sorted(given)
    if len(given) >= len(known):
        assert all(placed[place] == name for place, name in enumerate(known) if name in given)


def test_a_column_of_another_kind_is_fitted_anew() -> None:
    (column,) = tuned([InputColumn("city", ColumnType.FLOAT)], PLAIN, {"city": numbers(2, 4)}).columns
    assert isinstance(column.encoding, NumberEncoding)
    assert column.encoding.shift == 3


def test_the_base_decides_between_one_hot_and_embedding_unless_the_specification_does() -> None:
    many = InputColumn("city", ColumnType.CATEGORICAL, category_count=500)
    (column,) = tuned([many], PLAIN, {"city": texts("Bern", "Genf")}).columns
    assert column.encoding == BASE.columns[1].encoding
    asked = Preprocessing(columns=(ColumnEncoding(column="city", encoding=Encoding.EMBEDDING),))
    with pytest.raises(
        InvalidArgument, match=r"'city' is encoded by EMBEDDING .* and by ONE_HOT in the base"
    ) as caught:
        known_encodings([many], asked, BASE)
    assert caught.value.violations[0].field == "training_job.base_version"
    with pytest.raises(InvalidArgument, match=r"'a' is encoded by MIN_MAX .* and by STANDARDIZE"):
        known_encodings([A], Preprocessing(numeric_encoding=Encoding.MIN_MAX), BASE)


def test_a_boolean_with_missing_values_is_not_the_one_without() -> None:
    on = InputColumn("on", ColumnType.BOOLEAN)
    base = fit([on], PLAIN, summarized([on], {"on": numbers(0, 1)}))
    assert "on" in known_encodings([on], PLAIN, base)
    assert not known_encodings([InputColumn("on", ColumnType.BOOLEAN, keeps_missing=True)], PLAIN, base)


def fitted_targets(target: TargetColumn, column: Column, base: FittedTargets = BASE_TARGETS) -> FittedTargets:
    known = known_targets([target], base)
    fitted = fit_targets([target], summarized((), {target.name: column}, [target]), known)
    assert fitted.outputs == expected_outputs([target], known)
    return fitted


def test_a_target_keeps_its_classes_in_their_order_and_a_number_its_unit() -> None:
    (kind,) = fitted_targets(TargetColumn("kind", ColumnType.CATEGORICAL, 1), texts("z")).targets
    assert kind.classes == ("x", "y", "z")
    number = TargetColumn("y", ColumnType.FLOAT)
    base = fit_targets([number], summarized((), {"y": numbers(0, 10)}, [number]))
    assert fitted_targets(number, numbers(70, 90), base) == base


@pytest.mark.parametrize(
    ("count", "column", "message"),
    [
        (4, texts("x"), "has 4 classes in the training rows of the view, and the base version knows 3: 'x', 'y', 'z'"),
        (3, texts("x", "v", "w"), "classes that the base version does not know: 'v', 'w'; it knows 'x', 'y', 'z'"),
    ],
)
def test_other_classes_are_refused_with_their_names(count: int, column: Column, message: str) -> None:
    target: Any = TargetColumn("kind", ColumnType.CATEGORICAL, count)
    with pytest.raises(InvalidArgument, match=message) as caught:
        fitted_targets(target, column)
    assert caught.value.reason is Reason.WEIGHTS_MISMATCH
    assert caught.value.violations[0].field == "training_job.base_version"
