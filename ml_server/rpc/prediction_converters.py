"""Prediction requests and answers between the contract and their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flare.ml.v1 import prediction_service_pb2 as pb
from google.protobuf.struct_pb2 import Struct, Value
from numpy.typing import NDArray

from ml_server.prediction.answers import Answer, Regression
from ml_server.prediction.predictor import Prediction
from ml_server.prediction.raw import Booleans, EncodedImages, Integers, Numbers, RawColumn, Texts
from servicekit.errors import InvalidArgument, Reason
from servicekit.rpc.packed import add_doubles, doubles_of

NESTED = "is an object or a list: send a number, string, boolean or null"


def raw_columns(request: pb.PredictRequest | pb.ExplainRequest) -> Mapping[str, RawColumn]:
    """The columns of a request, in whichever form it has them.

    Raises:
        InvalidArgument: COLUMN_MISSING or INVALID_FIELD, if the request contradicts itself.
    """
    if request.WhichOneof("inputs") == "rows":
        return _columns_of_rows(request.rows.rows)
    columns: dict[str, RawColumn] = {}
    for index, column in enumerate(request.columns.columns):
        name = column.name
        if name in columns:
            raise InvalidArgument(
                Reason.INVALID_FIELD,
                f"column '{name}' is there twice: send each once",
                field=f"columns.columns[{index}].name",
            )
        columns[name] = _column(column, index)
    return columns


def _column(message: pb.ColumnValues, index: int) -> RawColumn:
    values: Numbers | Integers | Booleans | Texts | EncodedImages
    match message.WhichOneof("values"):
        case "numbers":
            numbers = message.numbers
            values = doubles_of(numbers, len(numbers.values))
        case "integers":
            values = np.array(message.integers.values, dtype=np.int64)
        case "booleans":
            values = np.array(message.booleans.values, dtype=np.bool_)
        case "images":
            values = EncodedImages(message.images.values)
        case _:
            values = message.texts.values
    if not message.missing_rows:
        return RawColumn(values)
    outside = [row for row in message.missing_rows if not 0 <= row < len(values)]
    if outside:
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            f"column '{message.name}' has {len(values)} values, so row {outside[0]} can't be missing: count from 0",
            field=f"columns.columns[{index}].missing_rows",
        )
    return RawColumn(values, frozenset(message.missing_rows))


def _columns_of_rows(structs: Sequence[Struct]) -> Mapping[str, RawColumn]:
    names = list(dict.fromkeys(name for struct in structs for name in struct.fields))
    columns = {}
    for name in names:
        for row, struct in enumerate(structs):
            if name not in struct.fields:
                raise InvalidArgument(
                    Reason.COLUMN_MISSING,
                    f"row {row} has no column '{name}', which other rows have: send null where a value is not known",
                    field=f"rows.rows[{row}]",
                    column=name,
                )
        columns[name] = _json_column([struct.fields[name] for struct in structs])
    return columns


def _json_column(values: list[Value]) -> RawColumn:
    """A column of JSON values: all numbers, all booleans, or anything else as text."""
    kinds = [value.WhichOneof("kind") for value in values]
    unusable = {row: NESTED for row, kind in enumerate(kinds) if kind in ("struct_value", "list_value")}
    missing = frozenset(row for row, kind in enumerate(kinds) if kind == "null_value").union(unusable)
    present = set(kinds).difference(("null_value", "struct_value", "list_value"))
    if present <= {"number_value"}:
        return RawColumn(np.array([value.number_value for value in values]), missing, unusable)
    if present == {"bool_value"}:
        return RawColumn(np.array([value.bool_value for value in values]), missing, unusable)
    return RawColumn([_text(value) for value in values], missing, unusable)


def _text(value: Value) -> str:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return str(int(number)) if number.is_integer() else repr(number)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case _:
            return value.string_value


def prediction_message(prediction: Prediction, top: int = 0) -> pb.PredictResponse:
    """The answers to a request: the `top` classes, or all of them if it is 0. Rows with faults have no answer."""
    faults = sorted(prediction.faults.items())
    good = np.delete(np.arange(prediction.rows), [row for row, _ in faults]) if faults else None
    return pb.PredictResponse(
        version=prediction.version.name,
        digest=prediction.version.details.digest,
        row_count=prediction.rows,
        targets=[_answer_message(answer, top, _Places(prediction.rows, good)) for answer in prediction.answers],
        row_errors=[pb.RowError(row=row, column=fault.column, message=fault.problem) for row, fault in faults],
    )


@dataclass(frozen=True)
class _Places:
    """Where answers stand among so many rows; `good` None: at all of them."""

    rows: int
    good: NDArray[np.int64] | None

    def numbers(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (answers,) or (answers, k) row by row, NaN in the other rows."""
        if self.good is None:
            return values
        placed = np.full((self.rows, *values.shape[1:]), np.nan)
        placed[self.good] = values
        return placed

    def labels(self, classes: Sequence[str], indices: NDArray[np.int64]) -> list[str]:
        """The classes of indices (answers,) or (answers, k) row by row, empty in the other rows."""
        if self.good is None:
            return list(map(classes.__getitem__, indices.ravel().tolist()))
        placed = np.full((self.rows, *indices.shape[1:]), -1)
        placed[self.good] = indices
        return [classes[index] if index >= 0 else "" for index in placed.ravel().tolist()]


def _answer_message(answer: Answer, top: int, places: _Places) -> pb.TargetPrediction:
    message = pb.TargetPrediction(target=answer.target)
    if isinstance(answer, Regression):
        message.regression.SetInParent()
        add_doubles(message.regression, "values", places.numbers(answer.values))
        return message
    found = message.classification
    found.labels.extend(places.labels(answer.classes, answer.labels))
    if top:
        best = answer.best(top)
        found.top_labels.extend(places.labels(answer.classes, best))
        chosen = np.take_along_axis(answer.probabilities, best, axis=1)
        add_doubles(found, "top_probabilities", places.numbers(chosen))
    else:
        found.classes.extend(answer.classes)
        add_doubles(found, "probabilities", places.numbers(answer.probabilities))
    return message
