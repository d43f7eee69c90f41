"""The quick way of tables of numbers gives what single columns give, and leaves to them what it can not do."""

from typing import Any

import numpy as np
import pytest

from ml_server.features.columns import ColumnType
from ml_server.features.features import FittedFeatures
from ml_server.prediction.inputs import ColumnInputs, columns_of
from ml_server.prediction.number_tables import number_features
from ml_server.prediction.raw import RawColumn
from servicekit.errors import FlareError
from servicekit.images.decoding import ImageDecoder
from tests.made_versions import mixed_version, numbers_version

COLUMNS = 5
FITTED = numbers_version(COLUMNS, (4,)).features
IMAGES = ImageDecoder(100)


def raw(rows: int, **others: RawColumn) -> dict[str, RawColumn]:
    values = np.random.default_rng(0).standard_normal((COLUMNS, rows)) * 1e3
    return {f"x{at}": RawColumn(values[at]) for at in reversed(range(COLUMNS))} | others


@pytest.mark.parametrize("rows", [1, 256, 20_000])
def test_features_are_those_of_single_columns_to_the_last_bit(rows: int) -> None:
    columns = raw(rows, x1=RawColumn(np.arange(rows)), x2=RawColumn(np.arange(rows) % 2 == 0))
    quick = number_features(FITTED, columns)
    assert quick is not None
    assert quick.flags.c_contiguous
    np.testing.assert_array_equal(quick, FITTED.transform(columns_of(FITTED, columns, IMAGES)))


def test_values_of_the_request_stay_as_they_are() -> None:
    columns = raw(3)
    before = {name: np.array(column.values) for name, column in columns.items()}
    for column in columns.values():
        column.values.flags.writeable = False  # type: ignore[union-attr]
    assert number_features(FITTED, columns) is not None
    for name, values in before.items():
        np.testing.assert_array_equal(np.array(columns[name].values), values)


@pytest.mark.parametrize("rows", [1, 256])
def test_numbers_that_do_not_lie_together_are_taken_too(rows: int) -> None:
    columns = raw(rows)
    spread = {name: RawColumn(np.repeat(np.array(column.values), 2)[::2]) for name, column in columns.items()}
    np.testing.assert_array_equal(number_features(FITTED, spread), number_features(FITTED, columns))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, 1e39, -1e308])
def test_a_row_with_a_number_that_can_not_be_computed_with_is_refused_as_ever(value: float) -> None:
    given = raw(1, x0=RawColumn(np.array([value])))
    assert number_features(FITTED, given) is None
    with pytest.raises(FlareError):
        ColumnInputs(given).features(FITTED, IMAGES, "the version")


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"y": RawColumn(np.zeros(2))},
        {"x0": RawColumn(np.zeros(3))},
        {"x0": RawColumn(np.array([np.nan, 1.0]))},
        {"x0": RawColumn(np.array([np.inf, 1.0]))},
        {"x0": RawColumn(np.array([1e300, 1.0]))},
        {"x0": RawColumn(np.array([1.0, -1e39]))},
        {"x0": RawColumn(np.zeros(2), frozenset({1}))},
        {"x0": RawColumn(["1.5", "many"])},
    ],
)
def test_what_is_faulty_is_refused_as_ever(columns: dict[str, RawColumn]) -> None:
    given: dict[str, Any] = raw(2, **columns) if columns else {}
    assert number_features(FITTED, given) is None
    with pytest.raises(FlareError):
        ColumnInputs(given).features(FITTED, IMAGES, "the version")


def test_text_that_means_numbers_goes_the_other_way() -> None:
    given = raw(2, x0=RawColumn(["1.5", "2"]))
    same = raw(2, x0=RawColumn(np.array([1.5, 2.0])))
    found = ColumnInputs(given).features(FITTED, IMAGES, "the version")
    np.testing.assert_array_equal(found, ColumnInputs(same).features(FITTED, IMAGES, "the version"))


def test_a_boolean_that_is_neither_true_nor_false_is_refused() -> None:
    first = FITTED.columns[0].model_copy(update={"type": ColumnType.BOOLEAN})
    fitted = FittedFeatures(columns=(first, *FITTED.columns[1:]))
    assert number_features(fitted, raw(2, x0=RawColumn(np.array([0.0, 1.0])))) is not None
    wrong = raw(2, x0=RawColumn(np.array([0.0, 2.0])))
    with pytest.raises(FlareError, match="neither true nor false"):
        ColumnInputs(wrong).features(fitted, IMAGES, "the version")


def test_tables_with_other_columns_go_the_other_way() -> None:
    assert mixed_version().features.number_names == ()
