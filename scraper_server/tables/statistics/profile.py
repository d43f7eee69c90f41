"""The statistics of a table, from one pass over its rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from scraper_server.tables.schema import Column, TableWarning
from scraper_server.tables.statistics.capacity import Capacity
from scraper_server.tables.statistics.columns import BooleanValues, ColumnValues, NumberValues, TextValues
from scraper_server.tables.statistics.warnings import column_warnings, summarized


class TableProfile:
    """Sees all rows once, and keeps a bounded part of them, see Capacity."""

    def __init__(self, schema: pa.Schema, parts: int) -> None:
        """`schema` is that of the rows, whose columns are seen in so many `parts`, each by a thread if need be.

        Of columns that hold neither numbers, booleans, times nor strings nothing is found out: who reads images knows
        what there is to know of them.
        """
        capacity = Capacity.of_column(len(schema))
        self._values = [_values(field.type, capacity) for field in schema]
        self._parts = [_Part(list(enumerate(self._values))[first::parts]) for first in range(parts)]

    @property
    def steps(self) -> list[Callable[[pa.RecordBatch], None]]:
        """What takes the next rows: each is to be called with all of them, in order."""
        return [part.add for part in self._parts]

    def described(
        self, columns: tuple[Column, ...], done: Callable[[int], None]
    ) -> tuple[tuple[Column, ...], tuple[TableWarning, ...]]:
        """The columns with their statistics, and what is to be said of them. `done` takes how many are done with."""

        def described(column: Column, values: ColumnValues | None) -> tuple[Column, tuple[TableWarning, ...]]:
            if values is None:
                return column, ()
            known = replace(column, statistics=values.statistics(column.type, len(columns)))
            return known, column_warnings(known, values)

        found: list[Column] = []
        warnings: list[TableWarning] = []
        with ThreadPoolExecutor(len(self._parts)) as threads:
            for column, said in threads.map(described, columns, self._values):
                found.append(column)
                warnings += said
                done(len(found))
        return tuple(found), summarized(warnings)


class _Part:
    """Some of the columns, by their positions."""

    def __init__(self, values: list[tuple[int, ColumnValues | None]]) -> None:
        self._values = [(at, each) for at, each in values if each is not None]
        self._row_count = 0

    def add(self, rows: pa.RecordBatch) -> None:
        for at, values in self._values:
            values.add(rows.column(at), self._row_count)
        self._row_count += len(rows)


def _values(kind: pa.DataType, capacity: Capacity) -> ColumnValues | None:
    if pa.types.is_boolean(kind):
        return BooleanValues()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        return NumberValues(capacity)
    return TextValues(capacity) if pa.types.is_string(kind) else None
