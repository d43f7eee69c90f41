"""Rows to predict, from any common form, as the contract's columns."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
from flare.ml.v1 import prediction_service_pb2 as pb
from google.protobuf.struct_pb2 import NullValue, Struct, Value

from flare_client.errors import FlareError, Violation
from flare_client.tables import images

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

Column: TypeAlias = "Sequence[Any] | npt.NDArray[Any] | pd.Series[Any]"
Rows: TypeAlias = "pd.DataFrame | Mapping[str, Column] | Sequence[Mapping[Any, Any]]"

# Below the message limit of 16 MiB by enough for the widest text that a cell commonly holds.
CELLS_OF_A_REQUEST = 250_000
# Of rows by name, which take several times as many bytes.
CELLS_BY_NAME = 25_000
# The whole numbers that JSON holds.
LARGEST_NUMBER = 2**53
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def request_tables(rows: Rows, *, partial: bool) -> Iterator[dict[str, pb.ColumnTable | pb.RowTable]]:
    """The rows as the field of one request that holds them, or of several in row order.

    With `partial` a cell that is no value, such as a list, goes out as one, for the service to tell of its row. Without
    it, raises as `column_tables`.
    """
    for start, part in _tables(rows, CELLS_OF_A_REQUEST):
        try:
            yield {"columns": _column_table(part, start)}
        except _NoValue:
            if not partial:
                raise
            for table in _row_tables(part, start):
                yield {"rows": table}


def column_tables(rows: Rows, cells: int = CELLS_OF_A_REQUEST) -> Iterator[pb.ColumnTable]:
    """The rows as one table, or as several in row order when one would have too many `cells` for a request.

    A DataFrame, columns by name, or rows by name. None, NaN and pandas' NA are missing values. Images are paths
    (`pathlib.Path`), encoded bytes, PIL images, or arrays of uint8.

    Raises:
        FlareError: Columns differ in length, or a cell holds something that is no value.
        OSError: An image's file can't be read.
    """
    for start, part in _tables(rows, cells):
        yield _column_table(part, start)


def _tables(rows: Rows, cells: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows that go into one request each: the first of them, and their columns."""
    columns = _columns(rows)
    lengths = {name: len(values) for name, values in columns.items()}
    row_count = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != row_count:
            raise _invalid(name, f"column {name!r} has {length} values where {next(iter(lengths))!r} has {row_count}")
    if row_count == 0:
        raise _invalid("inputs", "there are no rows to predict")
    yield from _parts(columns, row_count, cells)


def _column_table(columns: Mapping[str, Any], first_row: int) -> pb.ColumnTable:
    return pb.ColumnTable(columns=[_column(name, values, first_row) for name, values in columns.items()])


def _row_tables(columns: Mapping[str, Any], first_row: int) -> Iterator[pb.RowTable]:
    """The same rows by name, fewer at a time."""
    cells = {name: _cells(values) for name, values in columns.items()}
    row_count = len(next(iter(cells.values())))
    step = max(1, CELLS_BY_NAME // len(cells))
    for start in range(0, row_count, step):
        table = pb.RowTable()
        for row in range(start, min(start + step, row_count)):
            fields = {name: _json(name, values[row], first_row + row) for name, values in cells.items()}
            table.rows.add(fields=fields)
        yield table


def _cells(values: Any) -> list[Any]:
    """The cells of a column one by one; points in time as such, whatever their resolution."""
    if getattr(getattr(values, "dtype", None), "kind", "O") != "M":
        return list(values)
    import pandas as pd

    return [None if pd.isna(each) else each.to_pydatetime(warn=False) for each in pd.Series(values)]


def _json(name: str, value: Any, row: int) -> Value:
    try:
        plain = _plain(name, value, row)
    except _NoValue:
        return Value(struct_value=Struct())
    if plain is None:
        return Value(null_value=NullValue.NULL_VALUE)
    if isinstance(plain, bool):
        return Value(bool_value=plain)
    if isinstance(plain, bytes):
        return Value(string_value=base64.b64encode(plain).decode())
    if isinstance(plain, str) or (isinstance(plain, int) and abs(plain) > LARGEST_NUMBER):
        return Value(string_value=str(plain))
    return Value(number_value=plain)


def _parts(columns: Mapping[str, Any], row_count: int, cells: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """As `_tables`, of columns that are of equal length."""
    if any(images.holds_images(values) for values in columns.values()):
        try:
            yield from images.parts(columns, row_count)
        except ValueError as error:
            raise _invalid("inputs", str(error)) from error
        return
    step = max(1, cells // len(columns))
    for start in range(0, row_count, step):
        yield start, {name: values[start : start + step] for name, values in columns.items()}


def _columns(rows: Rows) -> dict[str, Any]:
    """Columns by name: a pandas series, a NumPy array or a list each."""
    if isinstance(rows, Mapping):
        return {str(name): values if _is_flat(values) else _listed(str(name), values) for name, values in rows.items()}
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        frame = cast("pd.DataFrame", rows)
        names = [str(name) for name in frame.columns]
        for name in names:
            if names.count(name) > 1:
                raise _invalid(name, f"two columns are called {name!r}: give each its own name")
        return {name: frame.iloc[:, position].reset_index(drop=True) for position, name in enumerate(names)}
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise _invalid(
            "inputs", f"the rows are {rows!r:.80}: give a DataFrame, columns by name, or a list of rows by name"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _invalid("inputs", f"row {number} is {row!r:.80}: give its values by the names of their columns")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {str(name): [row.get(name) for row in rows] for name in names}


def _listed(name: str, values: Any) -> list[Any]:
    is_one = isinstance(values, (str, bytes, Mapping, Set)) or getattr(values, "ndim", 1) == 0
    if is_one or not isinstance(values, Iterable):
        raise _invalid(name, f"column {name!r} is {values!r:.80}: give a list with a value for each row")
    return list(values)


def _is_flat(values: Column) -> bool:
    """Whether a column is a series or an array of plain cells, and no array of images."""
    return hasattr(values, "dtype") and getattr(values, "ndim", 1) == 1


def _column(name: str, values: Any, first_row: int) -> pb.ColumnValues:
    kind = getattr(getattr(values, "dtype", None), "kind", "O")
    if kind in "biufM":
        return _typed_column(name, values, kind)
    return _object_column(name, list(values), first_row)


def _typed_column(name: str, values: Any, kind: str) -> pb.ColumnValues:
    """A column whose type says what its cells are; pandas' nullable types included."""
    import pandas as pd

    series = pd.Series(values).reset_index(drop=True)
    absent = series.isna()
    missing = absent.to_numpy().nonzero()[0].tolist()
    if kind == "f":
        numbers = series.to_numpy(dtype="float64", na_value=math.nan)
        return pb.ColumnValues(name=name, numbers=pb.DoubleValues(values=numbers))
    if kind == "M":
        moments = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
        micros = moments.astype("datetime64[us]").astype("int64").mask(absent, 0)
        return pb.ColumnValues(name=name, integers=pb.Int64Values(values=micros), missing_rows=missing)
    if kind == "b":
        flags = series.fillna(False).astype(bool)
        return pb.ColumnValues(name=name, booleans=pb.BoolValues(values=flags), missing_rows=missing)
    if kind == "u" and int(series.max()) > 2**63 - 1:
        raise _invalid(name, f"column {name!r} has {series.max()}, more than a whole number of 64 bits can be")
    whole = series.fillna(0).astype("int64")
    return pb.ColumnValues(name=name, integers=pb.Int64Values(values=whole), missing_rows=missing)


def _object_column(name: str, values: list[Any], first_row: int) -> pb.ColumnValues:
    """A column whose cells say what they are."""
    cells = [_plain(name, value, first_row + row) for row, value in enumerate(values)]
    missing = [row for row, cell in enumerate(cells) if cell is None]
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {bytes}:
        encoded = [cell if isinstance(cell, bytes) else b"" for cell in cells]
        return pb.ColumnValues(name=name, images=pb.ImageValues(values=encoded), missing_rows=missing)
    if bytes in kinds:
        raise _NoValue(name, f"column {name!r} holds images and other values: a column is one or the other")
    if kinds <= {bool} and kinds:
        flags = [bool(cell) for cell in cells]
        return pb.ColumnValues(name=name, booleans=pb.BoolValues(values=flags), missing_rows=missing)
    if kinds <= {int} and kinds:
        whole = [0 if cell is None else int(cell) for cell in cells]
        return pb.ColumnValues(name=name, integers=pb.Int64Values(values=whole), missing_rows=missing)
    if kinds <= {int, float}:  # a column without any value is one of missing numbers
        numbers = [math.nan if cell is None else float(cell) for cell in cells]
        return pb.ColumnValues(name=name, numbers=pb.DoubleValues(values=numbers))
    texts = ["" if cell is None else str(cell) for cell in cells]
    return pb.ColumnValues(name=name, texts=pb.StringValues(values=texts), missing_rows=missing)


def _plain(name: str, value: Any, row: int) -> bool | int | float | str | bytes | None:
    if isinstance(value, bytes):
        return value  # an encoded image
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a NumPy scalar
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:  # NaN
        return None
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise _invalid(name, f"column {name!r}, row {row}: {value} does not fit into a whole number of 64 bits")
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise _NoValue(
        name,
        f"column {name!r}, row {row}: {value!r} is a {type(value).__name__}; "
        "a cell is a number, a string, true or false, a time, an image, or missing",
    )


def _invalid(field: str, message: str) -> FlareError:
    return FlareError(grpc.StatusCode.INVALID_ARGUMENT, "VALUE_INVALID", message, (Violation(field, message),))


class _NoValue(FlareError):
    """A cell holds something that no column can have."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, "VALUE_INVALID", message, (Violation(field, message),))
