"""Raw columns of requests: what clients send again and again is looked through once.

Requests of a client often differ by their numbers alone. The other bytes of its columns, with how many rows they have,
are a form: it says where in the message the numbers of each column lie.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flare.ml.v1 import prediction_service_pb2 as pb
from numpy.typing import NDArray

from ml_server.prediction.raw import RawColumn
from ml_server.rpc.prediction_converters import raw_columns
from servicekit.rpc.packed import DOUBLE, DOUBLE_BYTES, add_doubles

MAX_FORMS = 256
# A form is small, and kept.
MAX_COLUMNS = 256
MAX_FORM_BYTES = 8192
# Of more rows, the numbers take longer than all else.
MAX_ROWS = 4096

Request = pb.PredictRequest | pb.ExplainRequest
Key = tuple[str, int, int]


@dataclass(frozen=True)
class _Form:
    """Columns of so many numbers each: the bytes between the numbers, and where each column's numbers begin."""

    rows: int
    size_bytes: int
    between: NDArray[np.int64]
    content: bytes
    starts: list[tuple[str, int]]

    @classmethod
    def of(cls, columns: pb.ColumnTable, rows: int) -> "_Form | None":
        """None if it is large, or if a column has other values than numbers, other than so many, or missing ones."""
        for column in columns.columns:
            is_plain = column.WhichOneof("values") == "numbers" and not column.missing_rows
            if not is_plain or len(column.numbers.values) != rows:
                return None
        # Where the message changes with all bits of its numbers, the numbers are.
        low, high = (_filled(columns, byte, rows) for byte in (0x00, 0xFF))
        are_numbers = low != high
        between = np.flatnonzero(~are_numbers)
        if len(between) > MAX_FORM_BYTES:
            return None
        starts = np.flatnonzero(are_numbers)[:: DOUBLE_BYTES * rows].tolist()
        names = [column.name for column in columns.columns]
        return cls(rows, len(low), between, low[between].tobytes(), list(zip(names, starts, strict=True)))

    def columns_in(self, message: bytes) -> dict[str, RawColumn] | None:
        """The columns, which lie in the message; None if it is in another form."""
        if len(message) != self.size_bytes:
            return None
        if np.frombuffer(message, np.uint8)[self.between].tobytes() != self.content:
            return None
        rows = self.rows
        return {name: RawColumn(np.frombuffer(message, DOUBLE, rows, start)) for name, start in self.starts}


def _filled(columns: pb.ColumnTable, byte: int, rows: int) -> NDArray[np.uint8]:
    """The bytes of the columns if each byte of their numbers is this one."""
    numbers = np.frombuffer(bytes([byte]) * DOUBLE_BYTES * rows, DOUBLE)
    filled = pb.ColumnTable()
    filled.CopyFrom(columns)
    for column in filled.columns:
        column.numbers.ClearField("values")
        add_doubles(column.numbers, "values", numbers)
    return np.frombuffer(filled.SerializeToString(), np.uint8)


class ColumnReader:
    """Reads the columns of requests."""

    def __init__(self) -> None:
        self._once: set[Key] = set()
        self._forms: dict[Key, _Form | None] = {}

    def __call__(self, request: Request) -> Mapping[str, RawColumn]:
        """As `raw_columns`, whose errors it raises."""
        key = _key(request)
        if key is None:
            return raw_columns(request)
        form = self._forms.get(key)
        columns = form.columns_in(request.columns.SerializeToString()) if form is not None else None
        if columns is not None:
            return columns
        found = raw_columns(request)
        if key not in self._forms:
            self._consider(key, request)
        return found

    def _consider(self, key: Key, request: Request) -> None:
        """To find a form takes longer than to do without: it is for what comes a second time."""
        if key in self._once:
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            self._forms[key] = _Form.of(request.columns, key[2])
            return
        if len(self._once) >= MAX_FORMS:
            self._once.clear()
        self._once.add(key)


def _key(request: Request) -> Key | None:
    """The version's name and the shape of the table; None if its first column is none of few numbers."""
    columns = request.columns.columns
    if not 0 < len(columns) <= MAX_COLUMNS:
        return None
    rows = len(columns[0].numbers.values)
    return (request.name, len(columns), rows) if 0 < rows <= MAX_ROWS else None
