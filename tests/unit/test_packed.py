"""Numbers go into messages and come out as protobuf itself would have them."""

import math

import numpy as np
import pytest
from flare.ml.v1 import prediction_service_pb2 as pb

from servicekit.rpc.packed import add_doubles, doubles_of


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 2047, 2048, 300_000])
def test_numbers_are_those_that_protobuf_writes_and_reads(count: int) -> None:
    values = np.random.default_rng(0).standard_normal(count)
    theirs = pb.DoubleValues(values=values.tolist())
    ours = pb.DoubleValues()
    add_doubles(ours, "values", values)
    assert ours == theirs
    assert ours.SerializeToString() == theirs.SerializeToString()
    np.testing.assert_array_equal(doubles_of(theirs, count), values)


def test_a_matrix_goes_in_row_by_row_beside_what_is_there() -> None:
    message = pb.ClassificationPrediction(labels=["a", "b"], classes=["a", "b"])
    add_doubles(message, "probabilities", np.array([[0.1, 0.9], [0.2, 0.8]]).T)
    assert list(message.probabilities) == [0.1, 0.2, 0.9, 0.8]
    assert list(message.labels) == ["a", "b"]


def test_numbers_are_found_before_fields_that_only_a_newer_contract_knows() -> None:
    unknown = b"\x7a\x03new"
    message = pb.DoubleValues.FromString(unknown + pb.DoubleValues(values=[1.5, math.inf, -2.0]).SerializeToString())
    assert doubles_of(message, 3).tolist() == [1.5, math.inf, -2.0]
