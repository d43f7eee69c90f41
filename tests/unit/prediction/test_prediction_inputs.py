"""Raw values of a prediction: what is refused, and in which words."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from ml_server.features.columns import ColumnType, NumberColumn, arrow_column
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import InputColumn, fit
from ml_server.networks.specification import Preprocessing
from ml_server.prediction.inputs import columns_of
from ml_server.prediction.raw import RawColumn
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from tests.summarized import summarized

IMAGES = ImageDecoder(max_pixels=10_000)

INPUTS = [
    InputColumn("age", ColumnType.FLOAT),
    InputColumn("day", ColumnType.DATETIME),
    InputColumn("flag", ColumnType.BOOLEAN, category_count=2),
    InputColumn("kind", ColumnType.CATEGORICAL, category_count=2),
]


@pytest.fixture(scope="module")
def features() -> FittedFeatures:
    numbers = NumberColumn(np.array([0.0, 1.0]))
    kinds = arrow_column(pa.chunked_array([["a", "b"]]), ColumnType.CATEGORICAL)
    rows = {"age": numbers, "day": numbers, "flag": numbers, "kind": kinds}
    return fit(INPUTS, Preprocessing(), summarized(INPUTS, rows))


def request(**changed: RawColumn | None) -> dict[str, RawColumn]:
    """Two good rows, with some columns changed or left out."""
    columns = {
        "age": RawColumn(np.array([0.5, 0.25])),
        "day": RawColumn(["2024-05-17", "2024-05-18"]),
        "flag": RawColumn(np.array([True, False])),
        "kind": RawColumn(["a", "z"]),
    }
    return {name: column for name, column in (columns | changed).items() if column is not None}


def numbers(*values: float) -> RawColumn:
    return RawColumn(np.array(values))


@pytest.mark.parametrize(
    ("changed", "reason", "text"),
    [
        ({"age": None}, Reason.COLUMN_MISSING, "column 'age' is missing: the version was trained on 'age', 'day'"),
        ({"age": None, "kind": None}, Reason.COLUMN_MISSING, "columns 'age', 'kind' are missing"),
        ({"target": RawColumn(["x", "y"])}, Reason.COLUMN_UNEXPECTED, "column 'target' is not known"),
        ({"age": numbers(1)}, Reason.VALUE_INVALID, "'age' has 1 values and"),
        ({"age": RawColumn(["3", "old"])}, Reason.VALUE_INVALID, "column 'age', row 1: the value is 'old', which is"),
        ({"age": numbers(1, np.nan)}, Reason.VALUE_INVALID, "column 'age', row 1: the value is missing"),
        ({"age": RawColumn(["3", "nan"])}, Reason.VALUE_INVALID, "column 'age', row 1: the value is missing"),
        ({"age": RawColumn(np.array([1.0, 2.0]), frozenset([0]))}, Reason.VALUE_INVALID, "'age', row 0: the value is"),
        ({"age": numbers(np.inf, 1)}, Reason.VALUE_INVALID, "column 'age', row 0: the value is infinite"),
        ({"age": RawColumn(["1", "-inf"])}, Reason.VALUE_INVALID, "column 'age', row 1: the value is infinite"),
        ({"flag": numbers(1, 7)}, Reason.VALUE_INVALID, "column 'flag', row 1: the value is 7, which is neither true"),
        ({"flag": RawColumn(["1", "0.5"])}, Reason.VALUE_INVALID, "'flag', row 1: the value is 0.5, which is neither"),
        ({"day": RawColumn(["2024-05-17", "soon"])}, Reason.VALUE_INVALID, "'soon', which is not a point in time like"),
        ({"day": RawColumn(["2024-05-17", "now"])}, Reason.VALUE_INVALID, "'now', which is not a point in time"),
        ({"day": RawColumn(["2024-05-17", ""])}, Reason.VALUE_INVALID, "row 1: the value is '', which is not a point"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(
    features: FittedFeatures, changed: dict[str, RawColumn | None], reason: Reason, text: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        columns_of(features, request(**changed), IMAGES)
    assert refused.value.reason is reason
    assert text in refused.value.message
    assert [violation.field for violation in refused.value.violations] == ["inputs"]


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-05-17T12:30:00", "1969-12-31T23:59:59.999999"],
        ["2024-05-17T12:30:00Z", "1969-12-31T23:59:59.999999Z"],
        ["2024-05-17T14:30:00+02:00", "1969-12-31T22:59:59.999999-01:00"],
        ["2024-05-17 12:30", "1969-12-31 23:59:59.999999+00:00"],
    ],
)
def test_points_in_time_are_utc_unless_they_say_otherwise(features: FittedFeatures, texts: Sequence[str]) -> None:
    day = columns_of(features, request(day=RawColumn(texts)), IMAGES)["day"]
    assert isinstance(day, NumberColumn)
    assert day.values.tolist() == [1_715_949_000_000_000.0, -1.0]


def test_words_for_true_and_false_are_those_of_files(features: FittedFeatures) -> None:
    for true, false in (("true", "false"), ("T", "F"), ("yes", "No"), ("y", "n"), ("1", "0"), ("1.0", "0.0")):
        flag = columns_of(features, request(flag=RawColumn([true, false])), IMAGES)["flag"]
        assert isinstance(flag, NumberColumn)
        assert flag.values.tolist() == [1.0, 0.0]


def test_a_request_stays_as_it_was(features: FittedFeatures) -> None:
    given = np.array([1.0, 0.0])
    with pytest.raises(InvalidArgument):
        columns_of(features, request(age=RawColumn(given, frozenset([0]))), IMAGES)
    assert given.tolist() == [1.0, 0.0]
