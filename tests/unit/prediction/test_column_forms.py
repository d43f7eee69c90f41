"""Columns of requests that come again and again are what each of them says, however they are read."""

from typing import Any

import numpy as np
import pytest
from flare.ml.v1 import prediction_service_pb2 as pb

from ml_server.prediction.raw import RawColumn
from ml_server.rpc.column_forms import MAX_FORMS, MAX_ROWS, ColumnReader
from ml_server.rpc.prediction_converters import raw_columns
from servicekit.errors import InvalidArgument

NAMES = ("age", "fare", "sibsp")


def request(rows: int, seed: int = 0, names: tuple[str, ...] = NAMES, model: str = "models/iris") -> pb.PredictRequest:
    values = np.random.default_rng(seed).standard_normal((len(names), rows))
    made = pb.PredictRequest(name=model)
    for name, numbers in zip(names, values.tolist(), strict=True):
        made.columns.columns.add(name=name).numbers.values.extend(numbers)
    return made


def reader_that_knows(known: pb.PredictRequest) -> ColumnReader:
    reader = ColumnReader()
    for _ in range(3):
        reader(known)
    return reader


def array(column: RawColumn) -> Any:
    return np.array(column.values)


def lie_together(columns: Any) -> bool:
    """True if all values lie in one message."""
    return len({id(column.values.base) for column in columns.values()}) == 1


def require_same(reader: ColumnReader, asked: pb.PredictRequest) -> None:
    found, expected = reader(asked), raw_columns(asked)
    assert list(found) == list(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(array(found[name]), array(column))
        assert array(found[name]).dtype == array(column).dtype
        assert found[name].missing == column.missing


@pytest.mark.parametrize("rows", [1, 15, 16, 300, MAX_ROWS])
def test_a_form_that_is_known_gives_the_numbers_of_each_request(rows: int) -> None:
    reader = reader_that_knows(request(rows))
    for seed in range(3):
        asked = request(rows, seed)
        asked.columns.columns[1].numbers.values[0] = [np.nan, np.inf, 0.0][seed]
        require_same(reader, asked)
        assert lie_together(reader(asked))


def with_missing(asked: pb.PredictRequest) -> None:
    asked.columns.columns[2].missing_rows.append(1)


def with_integers(asked: pb.PredictRequest) -> None:
    asked.columns.columns[1].integers.values.extend([1, 2, 3])


def with_texts(asked: pb.PredictRequest) -> None:
    asked.columns.columns[2].texts.values.extend(["1", "2", "3"])


def with_lengths(asked: pb.PredictRequest) -> None:
    asked.columns.columns[1].numbers.values.append(2.5)


def with_news(asked: pb.PredictRequest) -> None:
    asked.columns.columns[1].MergeFromString(b"\x7a\x03new")


def with_another_order(asked: pb.PredictRequest) -> None:
    asked.CopyFrom(request(3, 5, ("fare", "age", "sibsp")))


def with_another_name(asked: pb.PredictRequest) -> None:
    asked.columns.columns[0].name = "cab"


CHANGES = [with_missing, with_integers, with_texts, with_lengths, with_news, with_another_order, with_another_name]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_in_another_form_is_read_as_ever(change: Any) -> None:
    reader = reader_that_knows(request(3))
    other = request(3, 7)
    change(other)
    for _ in range(3):
        require_same(reader, other)
        require_same(reader, request(3, 8))
    fresh = reader_that_knows(other)
    require_same(fresh, other)
    require_same(fresh, request(3, 8))


def test_a_name_that_is_there_twice_is_refused_beside_a_form_of_the_same_size() -> None:
    reader = reader_that_knows(request(2, names=("x0", "x1")))
    for _ in range(3):
        with pytest.raises(InvalidArgument, match="there twice"):
            reader(request(2, names=("x0", "x0")))


def test_rows_with_names_are_read_as_ever() -> None:
    asked = pb.PredictRequest(name="models/iris")
    asked.rows.rows.add().update({"age": 3.0})
    for _ in range(3):
        require_same(ColumnReader(), asked)


def test_more_forms_than_are_kept_do_no_harm() -> None:
    reader = ColumnReader()
    for at in [*range(MAX_FORMS + 5)] * 3:
        require_same(reader, request(1, at, model=f"models/m{at}"))
