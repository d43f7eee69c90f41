"""Tensors of a request as the features of a version."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_server.features.columns import ColumnType, NumberColumn
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import InputColumn, fit
from ml_server.networks.specification import Preprocessing
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.raw import RawColumn
from ml_server.prediction.tensor_inputs import PreparedRows, TensorInputs, is_prepared
from ml_server.prediction.tensors import Datatype, NamedTensor
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from tests.made_versions import GRAY, image_version, mixed_version, numbers_version
from tests.summarized import summarized

DECODER = ImageDecoder(max_pixels=10_000)
MIXED = mixed_version().features
WIDTH = MIXED.layout.columns


def fp32(values: Any, name: str = "features") -> NamedTensor:
    array = np.asarray(values, np.float32)
    return NamedTensor(name, Datatype.FP32, array.shape, array.ravel())


def features_of(fitted: FittedFeatures, *tensors: NamedTensor) -> NDArray[np.float32]:
    return TensorInputs(tensors).features(fitted, DECODER, "the version")


def test_prepared_features_are_taken_as_they_are_without_a_copy() -> None:
    prepared = np.zeros((3, WIDTH), np.float32)
    assert np.shares_memory(features_of(MIXED, fp32(prepared)), prepared)


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (0, np.nan, "row 1, feature 0: the value is nan: prepared features are finite numbers"),
        (0, np.inf, "row 1, feature 0: the value is inf"),
        (WIDTH - 1, 21, "the value is 21: it is the code of a category of 'city', 0 to 20"),
        (WIDTH - 1, -1, "the value is -1: it is the code of a category"),
        (WIDTH - 1, 0.5, "the value is 0.5: it is the code of a category"),
    ],
)
def test_features_that_no_preprocessing_gives_are_refused(place: int, value: float, text: str) -> None:
    prepared = np.zeros((2, WIDTH), np.float32)
    prepared[1, place] = value
    with pytest.raises(InvalidArgument) as refused:
        features_of(MIXED, fp32(prepared))
    assert refused.value.reason is Reason.VALUE_INVALID
    assert text in refused.value.message


NUMBERS = numbers_version(3, (4,)).features


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_known_to_be_prepared_are_taken_where_they_lie(rows: int) -> None:
    prepared = PreparedRows(np.ones((rows, 3), np.float32), NUMBERS)
    assert prepared.rows == rows
    assert prepared.features(NUMBERS, DECODER, "the version") is prepared.values


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_known_to_be_prepared_are_refused_as_others(rows: int, value: float) -> None:
    prepared = np.full((rows, 3), 3e38, np.float32)
    assert PreparedRows(prepared, NUMBERS).features(NUMBERS, DECODER, "") is prepared
    prepared[-1, :2] = value, -value
    told = []
    for inputs in (PreparedRows(prepared, NUMBERS), TensorInputs([fp32(prepared)])):
        with pytest.raises(InvalidArgument) as refused:
            inputs.features(NUMBERS, DECODER, "the version")
        told.append(refused.value)
    assert told[0].message == told[1].message
    assert told[0].metadata == told[1].metadata


def test_prepared_rows_of_one_version_are_looked_at_anew_by_another() -> None:
    prepared = PreparedRows(np.ones((2, 3), np.float32), NUMBERS)
    with pytest.raises(InvalidArgument) as refused:
        prepared.features(MIXED, DECODER, "the version")
    assert refused.value.reason is Reason.SHAPE_MISMATCH


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "fitted", "expected"),
    [
        ("features", Datatype.FP32, (2, 3), NUMBERS, True),
        ("feature", Datatype.FP32, (2, 3), NUMBERS, False),
        ("features", Datatype.FP64, (2, 3), NUMBERS, False),
        ("features", Datatype.FP32, (2, 4), NUMBERS, False),
        ("features", Datatype.FP32, (2,), NUMBERS, False),
        ("features", Datatype.FP32, (2, WIDTH), MIXED, False),  # it has codes of categories
    ],
)
def test_what_is_known_to_be_prepared_by_its_form(
    name: str, datatype: Datatype, shape: tuple[int, ...], fitted: FittedFeatures, expected: bool
) -> None:
    assert is_prepared(name, datatype, shape, fitted) is expected


def test_a_number_too_large_to_compute_with_is_refused() -> None:
    fitted = numbers_version(2, (4,)).features
    values = np.array([0.5, 1e39])
    columns = [NamedTensor(f"x{at}", Datatype.FP64, (2, 1), values[:: 1 if at else -1]) for at in range(2)]
    with pytest.raises(InvalidArgument) as refused:
        features_of(fitted, *columns)
    assert refused.value.reason is Reason.VALUE_INVALID
    assert "column 'x0', row 0: the value is 1e+39, too far from those of training" in refused.value.message


def test_a_column_that_is_called_features_is_a_column() -> None:
    columns = {"features": NumberColumn(np.array([0.0, 10.0]))}
    inputs = [InputColumn("features", ColumnType.FLOAT)]
    fitted = fit(inputs, Preprocessing(), summarized(inputs, columns))
    raw = ColumnInputs({"features": RawColumn(np.array([2.0, 4.0]))}).features(fitted, DECODER, "")
    np.testing.assert_array_equal(features_of(fitted, fp32([[2.0], [4.0]])), raw)


def test_a_decimal_category_is_the_same_in_fp32_and_fp64() -> None:
    rows = {
        "age": RawColumn(np.array([1.0])),
        "count": RawColumn(np.array([1])),
        "flag": RawColumn(np.array([True])),
        "day": RawColumn(np.array([0])),
        "city": RawColumn(["city 1"]),
    }
    expected = ColumnInputs({**rows, "kind": RawColumn(["0.1"])}).features(MIXED, DECODER, "")
    plain = {
        "age": np.array([1.0]),
        "count": np.array([1]),
        "flag": np.array([True]),
        "day": np.array([0]),
    }
    datatypes = {"f8": Datatype.FP64, "i8": Datatype.INT64, "b1": Datatype.BOOL}
    tensors = [NamedTensor(name, datatypes[each.dtype.str[1:]], (1,), each) for name, each in plain.items()]
    tensors.append(NamedTensor("city", Datatype.BYTES, (1,), [b"city 1"]))
    for kind in (fp32([0.1], "kind"), NamedTensor("kind", Datatype.FP64, (1,), np.array([0.1]))):
        np.testing.assert_array_equal(features_of(MIXED, *tensors, kind), expected)


def test_whole_numbers_above_those_of_int64_are_taken() -> None:
    columns = {"size": NumberColumn(np.array([0.0, 1.0]))}
    inputs = [InputColumn("size", ColumnType.INTEGER)]
    fitted = fit(inputs, Preprocessing(), summarized(inputs, columns))
    largest = np.array([2**64 - 1, 1], np.uint64)
    features = features_of(fitted, NamedTensor("size", Datatype.UINT64, (2, 1), largest))
    raw = ColumnInputs({"size": RawColumn(np.array([2.0**64, 1.0]))}).features(fitted, DECODER, "")
    np.testing.assert_array_equal(features, raw)


def test_gray_pixels_need_no_dimension_for_their_one_channel() -> None:
    fitted = image_version(GRAY).features
    pixels = np.arange(2 * GRAY.size_bytes, dtype=np.uint8)
    with_channel = (2, GRAY.height, GRAY.width, 1)
    first, second = [
        features_of(fitted, NamedTensor("image", Datatype.UINT8, shape, pixels))
        for shape in (with_channel, with_channel[:-1])
    ]
    np.testing.assert_array_equal(first, second)
    assert first.shape == (2, GRAY.size_bytes)


def test_an_input_is_sent_once() -> None:
    with pytest.raises(InvalidArgument, match="input 'age' is there twice"):
        features_of(MIXED, fp32([[1.0]], "age"), fp32([[1.0]], "age"))
    with pytest.raises(InvalidArgument, match=r"input 'age\.missing' is there twice"):
        features_of(MIXED, *tensors(*[marks("age.missing", True, True)] * 2))


def test_features_are_sent_alone() -> None:
    with pytest.raises(InvalidArgument, match="input 'features' takes the place of all columns: send it alone") as told:
        features_of(MIXED, fp32([[1.0]], "age"), fp32(np.zeros((1, WIDTH))))
    assert told.value.reason is Reason.COLUMN_UNEXPECTED


def test_the_tensor_with_another_number_of_rows_than_most_is_named_with_the_shape_that_it_should_have() -> None:
    text = r"input 'flag' is FP32 \[3,1\], and 'age' is FP32 \[2,1\]: send FP32 \[2,1\], a value for each row"
    sent = [fp32(np.zeros((rows, 1)), name) for name, rows in (("age", 2), ("flag", 3), ("count", 2))]
    for order in (sent, sent[::-1]):
        with pytest.raises(InvalidArgument, match=text if order is sent else text.replace("'age'", "'count'")) as told:
            features_of(MIXED, *order)
        assert told.value.reason is Reason.SHAPE_MISMATCH
        assert (told.value.metadata["given"], told.value.metadata["expected"]) == ("FP32 [3,1]", "FP32 [2,1]")


def test_a_scalar_has_no_rows() -> None:
    with pytest.raises(InvalidArgument, match=r"input 'age' is FP32 \[\]: the first dimension is that of the rows"):
        features_of(MIXED, fp32(1.0, "age"))


def rows(**changed: RawColumn) -> dict[str, RawColumn]:
    """Two good rows of the mixed version, with some columns changed."""
    good = {
        "age": RawColumn(np.array([1.0, 2.0])),
        "count": RawColumn(np.array([1, 2])),
        "flag": RawColumn(np.array([True, False])),
        "day": RawColumn(np.array([0, 1])),
        "kind": RawColumn(["a", "b"]),
        "city": RawColumn(["city 1", "city 2"]),
    }
    return good | changed


def tensors(*more: NamedTensor) -> list[NamedTensor]:
    """The same rows as tensors, and others beside them."""
    datatypes = {"f": Datatype.FP64, "i": Datatype.INT64, "b": Datatype.BOOL}
    made = []
    for name, column in rows().items():
        if isinstance(column.values, np.ndarray):
            made.append(NamedTensor(name, datatypes[column.values.dtype.kind], (2, 1), column.values))
        else:
            assert isinstance(column.values, list)
            made.append(NamedTensor(name, Datatype.BYTES, (2, 1), [text.encode() for text in column.values]))
    return [*made, *more]


def marks(name: str, *values: bool) -> NamedTensor:
    return NamedTensor(name, Datatype.BOOL, (len(values),), np.array(values))


def test_missing_values_are_marked_beside_their_column() -> None:
    gone = frozenset([1])
    for name, column in (("age", rows()["age"]), ("kind", rows()["kind"]), ("city", rows()["city"])):
        expected = ColumnInputs(rows(**{name: RawColumn(column.values, gone)})).features(MIXED, DECODER, "")
        features = features_of(MIXED, *tensors(marks(f"{name}.missing", False, True)))
        np.testing.assert_array_equal(features, expected)
        assert (features[1] != features_of(MIXED, *tensors())[1]).any()


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (marks("count.missing", True, False), "column 'count', row 0: the value is missing"),
        (marks("age.missing", True), "input 'age.missing' is BOOL [1], and 'age' is FP64 [2,1]: send BOOL [2]"),
        (fp32([0.0, 1.0], "age.missing"), "input 'age.missing' is FP32 [2]: send BOOL [2,1]"),
        (marks("size.missing", True, False), "column 'size.missing' is not known"),
    ],
)
def test_marks_that_do_not_fit_are_refused(sent: NamedTensor, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        features_of(MIXED, *tensors(sent))
    assert text in refused.value.message


def test_marks_without_their_column_do_not_stand_for_it() -> None:
    sent = [each for each in tensors(marks("age.missing", True, True)) if each.name != "age"]
    with pytest.raises(InvalidArgument, match="column 'age' is missing"):
        features_of(MIXED, *sent)
