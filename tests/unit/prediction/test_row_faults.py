"""Rows that can't be predicted: each with its reason, and the others as if these were not there."""

import base64
import math
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flare.ml.v1 import prediction_service_pb2 as pb
from google.protobuf import json_format
from PIL import Image

from ml_server.prediction.answers import Classification, Regression
from ml_server.prediction.inputs import ColumnInputs, PartialInputs, Prepared
from ml_server.prediction.predictor import Prediction
from ml_server.prediction.raw import EncodedImages, RawColumn
from ml_server.prediction.row_faults import RowFault
from ml_server.rpc.prediction_converters import prediction_message, raw_columns
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from tests.made_versions import CITIES, PIXELS, image_version, mixed_version
from tests.unit.prediction.test_statistics import version

DECODER = ImageDecoder(10_000)
MIXED = mixed_version().features
GOOD: dict[str, Any] = {
    "age": 1.5,
    "count": 3.0,
    "flag": True,
    "day": "1970-01-02",
    "kind": "a",
    "city": CITIES[3],
}


def rows(*changed: dict[str, Any]) -> dict[str, RawColumn]:
    """The columns of rows as JSON has them, each good but for what is changed."""
    table = pb.RowTable()
    for row in changed:
        json_format.ParseDict(GOOD | row, table.rows.add())
    return dict(raw_columns(pb.PredictRequest(name="models/iris", rows=table)))


def found(columns: dict[str, RawColumn], most: int = 10) -> Prepared:
    """What can be predicted, and the faults."""
    return PartialInputs(columns, most).prepared(MIXED, DECODER, "the version")


@pytest.mark.parametrize(
    ("changed", "column", "text"),
    [
        ({"age": "old"}, "age", "the value is 'old', which is not a number"),
        ({"count": None}, "count", "the value is missing, and no training row had it missing"),
        ({"age": "1e999"}, "age", "the value is infinite"),
        ({"age": 1e300}, "age", "the value is 1e+300, too far from those of training"),
        ({"count": "-1e42"}, "count", "the value is -1e+42, too far from those of training"),
        ({"flag": "maybe"}, "flag", "the value is 'maybe', which is neither true nor false"),
        ({"flag": "7"}, "flag", "the value is 7, which is neither true nor false"),
        ({"day": "soon"}, "day", "the value is 'soon', which is not a point in time"),
        ({"kind": {"a": 1}}, "kind", "the value is an object or a list: send a number"),
        ({"count": [1]}, "count", "the value is an object or a list"),
        ({"count": "many", "day": "soon"}, "count", "the value is 'many', which is not a number"),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_as_ever(changed: dict[str, Any], column: str, text: str) -> None:
    prepared = found(rows({}, changed, {"age": None}))
    faults = prepared.faults
    assert list(faults) == [1]
    assert faults[1].column == column
    assert text in faults[1].problem
    alone = ColumnInputs(rows({}, {"age": None})).features(MIXED, DECODER, "the version")
    np.testing.assert_array_equal(prepared.features, alone)
    np.testing.assert_array_equal(prepared.inputs.features(MIXED, DECODER, ""), alone)
    with pytest.raises(InvalidArgument) as refused:
        ColumnInputs(rows({}, changed, {"age": 4.0})).features(MIXED, DECODER, "the version")
    assert refused.value.message == f"column '{column}', row 1: {faults[1].problem}"


def test_columns_of_another_kind_are_faults_of_every_row() -> None:
    prepared = found(rows({}, {}) | {"age": RawColumn(EncodedImages([b"a", b"b"]))})
    assert {row: fault.column for row, fault in prepared.faults.items()} == {0: "age", 1: "age"}
    assert prepared.features.shape == (0, MIXED.layout.columns)


def test_columns_that_are_missing_refuse_the_request() -> None:
    columns = rows({}, {"age": "old"})
    del columns["city"]
    with pytest.raises(InvalidArgument) as refused:
        found(columns)
    assert refused.value.reason is Reason.COLUMN_MISSING


def test_more_faults_than_anyone_reads_refuse_the_request() -> None:
    assert len(found(rows({"age": "old"}, {"day": "soon"}, {}), most=2).faults) == 2
    with pytest.raises(InvalidArgument, match=r"more than 2 rows .* 'day', row 0: the value is 'soon'") as refused:
        found(rows({"day": "soon"}, {"age": "old"}, {"age": "old", "day": "soon"}), most=2)
    assert refused.value.reason is Reason.VALUE_INVALID


def test_broken_images_are_faults_of_their_rows() -> None:
    features = image_version().features
    sink = BytesIO()
    Image.new("RGB", (PIXELS.width, PIXELS.height), "red").save(sink, "PNG")
    good = sink.getvalue()
    alone = ColumnInputs({"image": RawColumn(EncodedImages([good]))}).features(features, DECODER, "")
    values = EncodedImages([good, good[:40], good, good])
    encoded = PartialInputs({"image": RawColumn(values, frozenset([2]))}).prepared(features, DECODER, "")
    assert sorted(encoded.faults) == [1, 2]
    assert "is no image that can be taken" in encoded.faults[1].problem
    assert "is missing" in encoded.faults[2].problem
    for made in (encoded.features, encoded.inputs.features(features, DECODER, "")):
        np.testing.assert_array_equal(made, np.concatenate([alone, alone]))
    text = base64.b64encode(good).decode()
    texts = PartialInputs({"image": RawColumn(["no base64", "data:image/png;base64," + text])})
    prepared = texts.prepared(features, DECODER, "")
    np.testing.assert_array_equal(prepared.features, alone)
    assert list(prepared.faults) == [0]
    numbers = PartialInputs({"image": RawColumn(np.array([1.0, 2.0]))}).prepared(features, DECODER, "")
    assert sorted(numbers.faults) == [0, 1]


def prediction() -> Prediction:
    """Three rows: a number, and a class of four, two of them equally probable."""
    probabilities = np.array([[0.2, 0.3, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    kind = Classification("kind", ("a", "b", "c", "d"), probabilities.argmax(axis=1), probabilities)
    return Prediction(version(1), 3, [Regression("size", np.array([1.0, 2.0, 3.0])), kind])


def test_the_most_probable_classes_come_in_order_and_ties_in_that_of_the_classes() -> None:
    kind = prediction_message(prediction(), top=3).targets[1].classification
    assert list(kind.top_labels) == ["b", "c", "a", "d", "c", "b", "a", "b", "c"]
    assert list(kind.top_probabilities) == [0.3, 0.3, 0.2, 0.4, 0.3, 0.2, 0.7, 0.1, 0.1]
    assert (list(kind.labels), list(kind.classes), list(kind.probabilities)) == (["b", "d", "a"], [], [])
    even = Classification("kind", tuple(map(str, range(40))), np.zeros(1, np.int64), np.full((1, 40), 1 / 40))
    assert even.best(40).tolist() == [list(range(40))]
    everything = prediction_message(prediction(), top=100).targets[1].classification
    assert list(everything.top_labels[:4]) == ["b", "c", "a", "d"]


@pytest.mark.parametrize("count", [1, 3, 199, 200, 300])
def test_the_best_of_many_classes_are_those_of_a_sort(count: int) -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.random((30, 200))
    probabilities[10:20] = generator.integers(0, 4, (10, 200)) / 4
    probabilities[5, 7] = probabilities[6] = np.nan
    many = Classification("kind", tuple(map(str, range(200))), probabilities.argmax(axis=1), probabilities)
    expected = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(many.best(count), expected)


def test_rows_with_faults_have_no_answer() -> None:
    fault = RowFault("age", "the value is 'old'")
    given = replace(prediction(), rows=4, faults={1: fault})
    for top in (0, 2):
        message = prediction_message(given, top)
        assert list(message.row_errors) == [pb.RowError(row=1, column="age", message="the value is 'old'")]
        size, kind = message.targets[0].regression, message.targets[1].classification
        assert [math.isnan(value) for value in size.values] == [False, True, False, False]
        assert list(kind.labels) == ["b", "", "d", "a"]
        told = kind.top_probabilities if top else kind.probabilities
        width = top or 4
        assert [math.isnan(each) for each in told] == [False] * width + [True] * width + [False] * 2 * width
    assert list(kind.top_labels) == ["b", "c", "", "", "d", "c", "a", "b"]
