"""Prediction requests and answers between the contract and their values."""

from collections.abc import Mapping, Sequence

import numpy as np
from flare.ml.v1 import prediction_service_pb2 as pb
from google.protobuf.struct_pb2 import Struct, Value

from ml_server.prediction.answers import Answer, Regression
from ml_server.prediction.predictor import Prediction
from ml_server.prediction.raw import Booleans, EncodedImages, Integers, Numbers, RawColumn, Texts
from servicekit.errors import InvalidArgument, Reason
from servicekit.rpc.packed import add_doubles, doubles_of


def raw_columns(request: pb.PredictRequest) -> Mapping[str, RawColumn]:
    """The columns of a request, in whichever form it has them.

    Raises:
        InvalidArgument: COLUMN_MISSING, INVALID_FIELD or VALUE_INVALID, if the request contradicts itself.
    """
    if request.WhichOneof("inputs") == "rows":
        return _columns_of_rows(request.rows.rows)
    columns: dict[str, RawColumn] = {}
    for index, column in enumerate(request.columns.columns):
        if column.name in columns:
            raise InvalidArgument(
                Reason.INVALID_FIELD,
                f"column '{column.name}' is there twice: send each once",
                field=f"columns.columns[{index}].name",
            )
        columns[column.name] = _column(column, f"columns.columns[{index}]")
    return columns


def _column(message: pb.ColumnValues, path: str) -> RawColumn:
    values: Numbers | Integers | Booleans | Texts | EncodedImages
    match message.WhichOneof("values"):
        case "numbers":
            values = doubles_of(message.numbers, len(message.numbers.values))
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
            field=f"{path}.missing_rows",
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
        columns[name] = _json_column(name, [struct.fields[name] for struct in structs])
    return columns


def _json_column(name: str, values: list[Value]) -> RawColumn:
    """A column of JSON values: all numbers, all booleans, or anything else as text."""
    kinds = [value.WhichOneof("kind") for value in values]
    missing = frozenset(row for row, kind in enumerate(kinds) if kind == "null_value")
    present = {kind for kind in kinds if kind != "null_value"}
    for row, kind in enumerate(kinds):
        if kind in ("struct_value", "list_value"):
            raise InvalidArgument(
                Reason.VALUE_INVALID,
                f"column '{name}', row {row}: the value is an object or a list: send a number, string, boolean or null",
                field=f"rows.rows[{row}]",
            )
    if present <= {"number_value"}:
        return RawColumn(np.array([value.number_value for value in values]), missing)
    if present == {"bool_value"}:
        return RawColumn(np.array([value.bool_value for value in values]), missing)
    return RawColumn([_text(value) for value in values], missing)


def _text(value: Value) -> str:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return str(int(number)) if number.is_integer() else repr(number)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case _:
            return value.string_value


def prediction_message(prediction: Prediction) -> pb.PredictResponse:
    """The answers to a request."""
    return pb.PredictResponse(
        version=prediction.version.name,
        digest=prediction.version.details.digest,
        row_count=prediction.rows,
        targets=map(_answer_message, prediction.answers),
    )


def _answer_message(answer: Answer) -> pb.TargetPrediction:
    message = pb.TargetPrediction(target=answer.target)
    if isinstance(answer, Regression):
        message.regression.SetInParent()
        add_doubles(message.regression, "values", answer.values)
        return message
    found = message.classification
    found.labels.extend(map(answer.classes.__getitem__, answer.labels.tolist()))
    found.classes.extend(answer.classes)
    add_doubles(found, "probabilities", answer.probabilities)
    return message
