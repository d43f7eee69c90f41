"""How the columns of a row stream are laid out: each for itself, or the numbers among the inputs as one matrix."""

from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from scraper_server.tables.arrow import Array, fixed_size_lists
from scraper_server.tables.schema import ColumnType
from scraper_server.views.spec import ColumnRole, ViewColumn

FEATURES = "features"
FEATURE_TYPES = (ColumnType.INTEGER, ColumnType.FLOAT, ColumnType.BOOLEAN)


class LayoutKind(StrEnum):
    """Which layout."""

    COLUMNS = "columns"
    FEATURES = "features"


class Layout(Protocol):
    """What stored batches are turned into on their way out. A batch keeps its number and its rows."""

    kind: LayoutKind
    columns: tuple[ViewColumn, ...]
    """In the order of the batches."""
    feature_names: tuple[str, ...]
    """Those of them, the first ones, that are one column together."""
    schema: pa.Schema

    def laid_out(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """A stored batch in this layout."""
        ...


class ColumnsLayout:
    """Every column is a column, which is how parts are stored."""

    kind = LayoutKind.COLUMNS
    feature_names: tuple[str, ...] = ()

    def __init__(self, columns: tuple[ViewColumn, ...], stored: pa.Schema) -> None:
        self.columns = columns
        self.schema = stored

    def laid_out(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows as they are."""
        return rows


class FeaturesLayout:
    """Inputs that are integers, floats or booleans are one column, `features`: lists of float64, NaN where missing.

    Its values are a row-major matrix (rows, features). The other columns follow. Where no input is a number there is no
    `features`.
    """

    kind = LayoutKind.FEATURES

    def __init__(self, columns: tuple[ViewColumn, ...], stored: pa.Schema) -> None:
        self._features = [at for at, each in enumerate(columns) if _is_feature(each)]
        self._others = [at for at, each in enumerate(columns) if not _is_feature(each)]
        self.columns = tuple(columns[at] for at in (*self._features, *self._others))
        self.feature_names = tuple(columns[at].name for at in self._features)
        self._floats = pa.schema([pa.field(name, pa.float64()) for name in self.feature_names])
        self._are_floats = all(stored.field(at).type == pa.float64() for at in self._features)
        self._type = pa.list_(pa.field("item", pa.float64(), nullable=False), len(self._features))
        matrix = [pa.field(FEATURES, self._type, nullable=False)] if self._features else []
        self.schema = pa.schema([*matrix, *(stored.field(at) for at in self._others)])

    def laid_out(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with their features side by side."""
        matrix = [self._matrix(rows)] if self._features else []
        return pa.RecordBatch.from_arrays([*matrix, *map(rows.column, self._others)], schema=self.schema)

    def _matrix(self, rows: pa.RecordBatch) -> Array:
        numbers = rows.select(self._features)
        if not self._are_floats:  # unsafe: whole numbers above 2^53 are rounded instead of refused
            numbers = numbers.cast(self._floats, safe=False)
        matrix = numbers.to_tensor(null_to_nan=True, row_major=True).to_numpy()
        return fixed_size_lists(pa.array(matrix.reshape(-1)), self._type)


def layout_of(kind: LayoutKind, columns: tuple[ViewColumn, ...], stored: pa.Schema) -> Layout:
    """The layout of batches that are stored with a schema."""
    return FeaturesLayout(columns, stored) if kind is LayoutKind.FEATURES else ColumnsLayout(columns, stored)


def _is_feature(column: ViewColumn) -> bool:
    return column.role is ColumnRole.INPUT and column.type in FEATURE_TYPES
