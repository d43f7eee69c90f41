"""Tables of every common form become columns, and predictions become tables."""

import math
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from flare.ml.v1 import prediction_service_pb2 as pb
from flare.scraper.v1 import dataset_pb2
from flare_client import FlareError
from flare_client.tables.batches import arrow_frame
from flare_client.tables.columns import CELLS_BY_NAME, CELLS_OF_A_REQUEST, Rows, column_tables, request_tables
from flare_client.tables.explanations import explanation_frame
from flare_client.tables.predictions import prediction_frame
from PIL import Image


def only(rows: Rows) -> dict[str, pb.ColumnValues]:
    """The columns of rows that fit into one request."""
    (table,) = column_tables(rows)
    return {column.name: column for column in table.columns}


def test_a_frame_keeps_the_types_of_its_columns() -> None:
    columns = only(
        pd.DataFrame(
            {
                "whole": [1, 2],
                "number": [0.5, float("nan")],
                "flag": [True, False],
                "text": ["a", None],
                "class": pd.Categorical(["x", None]),
                "when": pd.to_datetime(pd.Series(["2024-01-02T03:04:05.000006", None])),
                "there": pd.to_datetime(pd.Series(["2024-01-02T01:00:00+01:00", None])),
            }
        )
    )
    assert list(columns["whole"].integers.values) == [1, 2]
    assert columns["number"].numbers.values[0] == 0.5
    assert np.isnan(columns["number"].numbers.values[1])
    assert list(columns["flag"].booleans.values) == [True, False]
    assert (list(columns["text"].texts.values), list(columns["text"].missing_rows)) == (["a", ""], [1])
    assert (list(columns["class"].texts.values), list(columns["class"].missing_rows)) == (["x", ""], [1])
    moment = int(datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp() * 1e6)
    assert (list(columns["when"].integers.values), list(columns["when"].missing_rows)) == ([moment, 0], [1])
    assert columns["there"].integers.values[0] == int(datetime(2024, 1, 2, tzinfo=UTC).timestamp() * 1e6)


def test_nullable_columns_keep_their_type_around_missing_values() -> None:
    columns = only(
        pd.DataFrame(
            {
                "whole": pd.array([1, None], dtype="Int64"),
                "flag": pd.array([None, True], dtype="boolean"),
                "text": pd.array([None, "a"], dtype="string"),
                "number": pd.array([None, 1.5], dtype="Float64"),
            }
        )
    )
    assert (list(columns["whole"].integers.values), list(columns["whole"].missing_rows)) == ([1, 0], [1])
    assert (list(columns["flag"].booleans.values), list(columns["flag"].missing_rows)) == ([False, True], [0])
    assert (list(columns["text"].texts.values), list(columns["text"].missing_rows)) == (["", "a"], [0])
    assert np.isnan(columns["number"].numbers.values[0])


def test_rows_by_name_are_columns_with_missing_values_where_a_name_is_absent() -> None:
    columns = only([{"a": 1, "b": "x"}, {"a": None}, {"a": 3, "c": date(2024, 1, 2)}])
    assert (list(columns["a"].integers.values), list(columns["a"].missing_rows)) == ([1, 0, 3], [1])
    assert list(columns["b"].missing_rows) == [1, 2]
    assert columns["c"].texts.values[2] == "2024-01-02"


def test_numbers_of_both_kinds_in_one_column_are_numbers() -> None:
    assert list(only({"a": [1, 2.5]})["a"].numbers.values) == [1.0, 2.5]


def test_columns_may_be_arrays() -> None:
    columns = only({"a": np.array([1, 2], dtype=np.uint8), "b": np.array([0.5, 1.5], dtype=np.float32)})
    assert list(columns["a"].integers.values) == [1, 2]
    assert list(columns["b"].numbers.values) == [0.5, 1.5]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "'b' has 1 values where 'a' has 2"),
        ({"a": []}, "no rows"),
        ([], "no rows"),
        ({"a": [object()]}, "'a', row 0"),
        ({"a": [[1]]}, "'a', row 0"),
        ({"a": [2**63]}, "64 bits"),
        ({"a": 1.0}, "column 'a' is 1.0: give a list with a value for each row"),
        ({"a": np.array(1.0)}, "column 'a' is array.*: give a list"),
        ({"a": "Rome"}, "column 'a' is 'Rome': give a list"),
        ({"a": {0: 1.0}}, "column 'a' is {0: 1.0}: give a list"),
        ([{"a": 1}, 2], "row 1 is 2: give its values by the names of their columns"),
        (5, "the rows are 5: give a DataFrame"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are called 'a'"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(rows: Any, message: str) -> None:
    with pytest.raises(FlareError, match=message) as raised:
        list(column_tables(rows))
    assert raised.value.reason == "VALUE_INVALID"


def test_cells_that_are_no_values_go_out_as_such_if_single_rows_may_fail() -> None:
    rows: dict[str, Any] = {
        "a": [[1], 2.5, None],
        "b": [True, None, {}],
        "c": np.array([3, 4, 5]),
        "d": pd.to_datetime(pd.Series(["2024-01-02T03:04:05.000006", None, "2024-01-02T00:00:00.000000"])),
        "e": ["x", 2**60, b"png"],
    }
    with pytest.raises(FlareError, match=r"column 'a', row 0: \[1\] is a list"):
        list(request_tables(rows, partial=False))
    ((field, table),) = [item for each in request_tables(rows, partial=True) for item in each.items()]
    assert field == "rows"
    assert isinstance(table, pb.RowTable)
    kinds = [{name: value.WhichOneof("kind") for name, value in row.fields.items()} for row in table.rows]
    assert [kind["a"] for kind in kinds] == ["struct_value", "number_value", "null_value"]
    assert [kind["b"] for kind in kinds] == ["bool_value", "null_value", "struct_value"]
    assert [row.fields["c"].number_value for row in table.rows] == [3, 4, 5]
    assert [row.fields["d"].string_value for row in table.rows] == [
        "2024-01-02T03:04:05.000006",
        "",
        "2024-01-02T00:00:00",
    ]
    assert [row.fields["e"].string_value for row in table.rows] == ["x", str(2**60), "cG5n"]
    assert [list(each) for each in request_tables({"a": [1]}, partial=True)] == [["columns"]]


def test_rows_by_name_that_are_too_large_for_a_message_become_several_in_order() -> None:
    cells: list[Any] = [*range(CELLS_BY_NAME + 5), [1]]
    tables = [each["rows"] for each in request_tables({"a": cells}, partial=True)]
    assert all(isinstance(table, pb.RowTable) for table in tables)
    numbers = [row.fields["a"].number_value for table in tables for row in table.rows]  # type: ignore[union-attr]
    assert numbers == [*range(CELLS_BY_NAME + 5), 0]
    assert len(tables) == 2


def test_a_table_that_is_too_large_for_a_message_becomes_several_in_order() -> None:
    rows = CELLS_OF_A_REQUEST + 10
    tables = list(column_tables({"a": np.arange(rows), "b": np.zeros(rows)}))
    assert len(tables) == 3
    assert [value for table in tables for value in table.columns[0].integers.values] == list(range(rows))
    assert max(table.ByteSize() for table in tables) < 16 << 20


def test_images_go_out_encoded_in_whatever_form_they_are(tmp_path: Path) -> None:
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = tmp_path / "gray.png"
    Image.fromarray(gray).save(path)
    color = np.stack([gray] * 3, axis=2)
    forms = [path, path.read_bytes(), Image.fromarray(gray), gray, color, gray[:, :, None]]
    expected = [gray, gray, gray, gray, color, gray]
    for rows in ({"x": forms}, pd.DataFrame({"x": forms}), [{"x": form} for form in forms]):
        sent = [np.asarray(Image.open(BytesIO(each))) for each in only(rows)["x"].images.values]
        for got, wanted in zip(sent, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    stacked = only({"x": np.stack([gray, gray])})["x"].images.values
    assert len(stacked) == 2


def test_a_missing_image_is_missing() -> None:
    column = only({"x": [None, b"png"], "age": [1, 2]})["x"]
    assert (list(column.images.values), list(column.missing_rows)) == ([b"", b"png"], [0])


def test_many_or_large_images_become_several_requests() -> None:
    tables = list(column_tables({"x": [bytes([number]) for number in range(70)], "n": list(range(70))}))
    assert [len(table.columns[0].images.values) for table in tables] == [32, 32, 6]
    assert [number for table in tables for number in table.columns[1].integers.values] == list(range(70))
    large = list(column_tables({"x": [b"x" * (5 << 20)] * 3}))
    assert [len(table.columns[0].images.values) for table in large] == [1, 1, 1]


def test_an_array_that_is_no_image_is_refused_with_its_kind() -> None:
    with pytest.raises(FlareError, match=r"not float64 as \(2, 2\)"):
        list(column_tables({"x": [np.zeros((2, 2))]}))
    with pytest.raises(FlareError, match="'x' holds images and other values"):
        list(column_tables({"x": [b"png", 3]}))


def test_pixels_of_a_view_are_arrays() -> None:
    schema = pa.schema([("x", pa.binary(6)), ("y", pa.binary(3))])
    columns: dict[str, list[bytes | None]] = {"x": [bytes(range(6)), None], "y": [b"abc", b"def"]}
    batch = pa.RecordBatch.from_pydict(columns, schema=schema)
    shapes = {
        "x": dataset_pb2.ImageShape(height=2, width=3, mode=dataset_pb2.IMAGE_MODE_GRAYSCALE),
        "y": dataset_pb2.ImageShape(height=1, width=1, mode=dataset_pb2.IMAGE_MODE_RGB),
    }
    frame = arrow_frame(schema.serialize().to_pybytes(), [batch.serialize().to_pybytes()], shapes)
    np.testing.assert_array_equal(frame["x"][0], np.arange(6).reshape(2, 3))
    assert frame["x"][1] is None
    assert frame["y"][1].shape == (1, 1, 3)


def test_the_most_probable_classes_are_columns_and_rows_with_errors_are_missing() -> None:
    response = pb.PredictResponse(version="models/iris/versions/2", digest="d", row_count=2)
    response.targets.add(target="size").regression.values.extend([1.5, math.nan])
    classes = response.targets.add(target="kind").classification
    classes.labels.extend(["b", ""])
    classes.top_labels.extend(["b", "a", "", ""])
    classes.top_probabilities.extend([0.7, 0.2, math.nan, math.nan])
    response.row_errors.add(row=1, column="x", message="the value is 'old'")
    frame = prediction_frame([response, response])
    places = ["kind_top_1", "kind_top_1_probability", "kind_top_2", "kind_top_2_probability"]
    assert list(frame.columns) == ["size", "kind", *places]
    assert list(frame.loc[2]) == [1.5, "b", "b", 0.7, "a", 0.2]
    assert frame.loc[[1, 3]].isna().to_numpy().all()
    error = {"column": "x", "message": "the value is 'old'"}
    assert frame.attrs["row_errors"] == [{"row": 1, **error}, {"row": 3, **error}]


def test_explanations_are_a_table_with_a_column_for_each_input() -> None:
    response = pb.ExplainResponse(version="models/iris/versions/2", digest="d", row_count=2, target="kind")
    response.method = pb.EXPLANATION_METHOD_PERMUTATION
    response.columns.extend(["x", "z"])
    response.contributions.extend([1.0, 2.0, 3.0, 4.0])
    response.outputs.extend([3.5, 7.5])
    response.baseline_outputs.extend([0.5, 0.5])
    response.class_labels.extend(["a", "b"])
    frame = explanation_frame([response, response])
    assert list(frame.columns) == ["x", "z"]
    assert frame.to_numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]] * 2
    assert frame.attrs["outputs"] == [3.5, 7.5] * 2
    assert frame.attrs["baseline_outputs"] == [0.5] * 4
    assert frame.attrs["class_labels"] == ["a", "b"] * 2
    assert (frame.attrs["target"], frame.attrs["method"]) == ("kind", "permutation")


def test_predictions_are_a_table_with_a_probability_for_each_class() -> None:
    response = pb.PredictResponse(version="models/iris/versions/2", digest="d", row_count=2)
    response.targets.add(target="size").regression.values.extend([1.5, 2.5])
    classes = response.targets.add(target="kind").classification
    classes.labels.extend(["b", "a"])
    classes.classes.extend(["a", "b"])
    classes.probabilities.extend([0.25, 0.75, 0.9, 0.1])
    frame = prediction_frame([response, response])
    assert list(frame.columns) == ["size", "kind", "kind_probability_a", "kind_probability_b"]
    assert list(frame["kind"]) == ["b", "a", "b", "a"]
    assert list(frame["kind_probability_b"]) == [0.75, 0.1, 0.75, 0.1]
    assert list(frame.index) == [0, 1, 2, 3]
    assert frame.attrs["version"] == "models/iris/versions/2"
