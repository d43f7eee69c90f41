"""What a layout does with a stored batch."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scraper_server.tables.schema import Column, ColumnType, arrow_schema
from scraper_server.views.layouts import FEATURES, LayoutKind, layout_of
from scraper_server.views.spec import ColumnRole, MissingPolicy, ViewColumn

INPUT, TARGET = ColumnRole.INPUT, ColumnRole.TARGET


def column(name: str, kind: ColumnType, role: ColumnRole = INPUT) -> ViewColumn:
    return ViewColumn(name, name, role, kind, MissingPolicy.KEEP)


COLUMNS = (
    column("word", ColumnType.TEXT),
    column("whole", ColumnType.INTEGER),
    column("y", ColumnType.FLOAT, TARGET),
    column("flag", ColumnType.BOOLEAN),
    column("features", ColumnType.CATEGORICAL),
    column("number", ColumnType.FLOAT),
)
VALUES: list[list[Any]] = [
    ["a", None, "c"],
    [1, None, 2**53 + 1],
    [0.5, 1.5, 2.5],
    [True, False, None],
    ["x", "y", None],
    [None, -0.0, float("inf")],
]


def batch_of(columns: tuple[ViewColumn, ...], values: list[list[Any]]) -> pa.RecordBatch:
    schema = arrow_schema(tuple(Column(each.name, each.type) for each in columns))
    arrays: list[Any] = [pa.array(each, field.type) for each, field in zip(values, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def test_features_are_a_row_major_matrix_and_the_rest_follows() -> None:
    stored = batch_of(COLUMNS, VALUES)
    layout = layout_of(LayoutKind.FEATURES, COLUMNS, stored.schema)
    rows = layout.laid_out(stored)
    assert rows.schema.equals(layout.schema, check_metadata=True)
    assert layout.feature_names == ("whole", "flag", "number")
    assert [each.name for each in layout.columns] == ["whole", "flag", "number", "word", "y", "features"]
    features: Any = rows.column(0)
    assert features.type == pa.list_(pa.field("item", pa.float64(), nullable=False), 3)
    matrix = features.values.to_numpy(zero_copy_only=True).reshape(3, 3)
    nan, inf = np.nan, np.inf
    np.testing.assert_array_equal(matrix, [[1, 1, nan], [nan, 0, -0.0], [2.0**53, nan, inf]])
    assert np.signbit(matrix[1, 2])
    for at, name in enumerate(("word", "y", "features"), start=1):
        source = next(each for each in range(len(COLUMNS)) if COLUMNS[each].name == name)
        assert rows.column(at).equals(stored.column(source))
        assert rows.schema.field(at).equals(stored.schema.field(source), check_metadata=True)


def test_without_numbers_there_is_no_matrix() -> None:
    columns = (column("word", ColumnType.TEXT), column("y", ColumnType.INTEGER, TARGET))
    stored = batch_of(columns, [["a", "b"], [1, 2]])
    layout = layout_of(LayoutKind.FEATURES, columns, stored.schema)
    assert layout.feature_names == ()
    assert layout.laid_out(stored).equals(stored)


@pytest.mark.parametrize("kind", [ColumnType.INTEGER, ColumnType.BOOLEAN, ColumnType.FLOAT])
def test_features_of_one_type_are_float64_too(kind: ColumnType) -> None:
    columns = (column("a", kind), column("b", kind))
    stored = batch_of(
        columns, [[1, 0], [0, None]] if kind is not ColumnType.BOOLEAN else [[True, False], [False, None]]
    )
    rows: Any = layout_of(LayoutKind.FEATURES, columns, stored.schema).laid_out(stored)
    assert rows.schema.names == [FEATURES]
    np.testing.assert_array_equal(rows.column(0).values.to_numpy(), [1, 0, 0, np.nan])


def test_columns_are_what_is_stored() -> None:
    stored = batch_of(COLUMNS, VALUES)
    layout = layout_of(LayoutKind.COLUMNS, COLUMNS, stored.schema)
    assert layout.laid_out(stored) is stored
    assert (layout.columns, layout.feature_names) == (COLUMNS, ())
