"""Files of every format become the table that they hold, or are refused with the place."""

import contextlib
import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scraper_server.limits import Limits, TableLimits
from scraper_server.tables.conversion import TABLE_FILE, ConversionPhase, ConvertedTable, convert
from scraper_server.tables.formats import Compression, FileFormat, FormatKind
from scraper_server.tables.schema import ColumnType, WarningKind
from servicekit.errors import FlareError, InvalidArgument, Reason, ResourceExhausted
from tests.unit.scraper.workbook_files import ERROR, WORKBOOKS, Cell, ods, xlsx

Converted = tuple[ConvertedTable, dict[str, list[Any]]]
Convert = Callable[..., Converted]


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    """Converts bytes, and returns what is known of the table and its columns."""
    count = 0

    def run(
        content: bytes | str, name: str = "table.json", wanted: FileFormat | None = None, limits: Limits | None = None
    ) -> Converted:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        (folder / "out").mkdir(parents=True)
        source = folder / "source"
        source.write_bytes(content.encode() if isinstance(content, str) else content)
        table = convert(source, name, wanted or FileFormat(), limits or Limits(), folder / "out", lambda *_: None)
        assert [path.name for path in (folder / "out").iterdir()] == [TABLE_FILE]
        return table, pq.read_table(folder / "out" / TABLE_FILE).to_pydict()

    return run


def types_of(table: ConvertedTable) -> dict[str, str]:
    return {column.name: column.type.value for column in table.columns}


def refused(call: Callable[[], object]) -> FlareError:
    with pytest.raises(FlareError) as caught:
        call()
    return caught.value


# JSON

FRAME = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, None, 2.5], "s": ["a", "b", "ü"], "t": [True, False, True]})
VALUES = {"n": [1, 2, 3], "x": [0.5, None, 2.5], "s": ["a", "b", "ü"], "t": [True, False, True]}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (FRAME.to_json(orient="records"), FormatKind.JSON),
        (FRAME.to_json(orient="records", indent=2), FormatKind.JSON),
        (FRAME.to_json(orient="records", lines=True), FormatKind.JSON_LINES),
        (FRAME.to_json(orient="columns"), FormatKind.JSON),
        (FRAME.to_json(orient="index"), FormatKind.JSON),
        (FRAME.to_json(orient="split"), FormatKind.JSON),
        (json.dumps(FRAME.astype(object).where(FRAME.notna(), None).to_dict(orient="list")), FormatKind.JSON),
        (json.dumps({"count": 3, "rows": json.loads(FRAME.to_json(orient="records"))}), FormatKind.JSON),
        ("\ufeff" + FRAME.to_json(orient="records"), FormatKind.JSON),
        (FRAME.to_json(orient="records").encode("utf-16"), FormatKind.JSON),
        (FRAME.to_json(orient="records", lines=True).encode("utf-16"), FormatKind.JSON_LINES),
    ],
)
def test_json_of_each_usual_shape_is_a_table(converted: Convert, content: str | bytes, kind: FormatKind) -> None:
    table, values = converted(content)
    assert values == VALUES
    assert types_of(table) == {"n": "integer", "x": "float", "s": "text", "t": "boolean"}
    assert table.format.kind is kind


def test_objects_in_json_become_columns_and_lists_their_text(converted: Convert) -> None:
    rows = [
        {"id": 1, "user": {"name": "ann", "at": {"lat": 1.5}}, "tags": ["x", "y"]},
        {"id": 2, "user": {"name": "bob"}, "tags": []},
        {"id": 3, "user": None, "late": "here"},
    ]
    _, values = converted(json.dumps(rows))
    assert values == {
        "id": [1, 2, 3],
        "user.name": ["ann", "bob", None],
        "user.at.lat": [1.5, None, None],
        "tags": ['["x","y"]', "[]", None],
        "late": [None, None, "here"],
    }


def test_a_key_that_comes_up_in_the_last_of_many_rows_is_a_column(converted: Convert) -> None:
    lines = "\n".join(json.dumps({"a": number, "b": "x" * 50}) for number in range(60_000))
    table, values = converted(lines + '\n{"a": "none", "c": 1}\n')
    assert types_of(table) == {"a": "text", "b": "categorical", "c": "integer"}
    assert values["c"] == [None] * 60_000 + [1]
    assert values["a"][59_999:] == ["59999", "none"]


def test_values_of_several_types_are_text(converted: Convert) -> None:
    table, values = converted('{"a": 1}\n{"a": "x"}\n{"a": true}\n{"a": 2.5}\n\n{"a": null}\n{}\n')
    assert types_of(table) == {"a": "text"}
    assert values == {"a": ["1", "x", "true", "2.5", None, None]}


def test_dates_in_json_are_dates_and_long_numbers_stay_exact(converted: Convert) -> None:
    table, values = converted('[{"d": "2024-01-31T10:00:00Z", "n": 12345678901234567890123}]')
    assert types_of(table) == {"d": "datetime", "n": "text"}
    assert values["n"] == ["12345678901234567890123"]


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', Reason.FILE_NOT_A_TABLE, "line 2 is not a JSON object"),
        ('{"a": 1}\n[1, 2]\n', Reason.FILE_NOT_A_TABLE, "line 2 is not a JSON object but [1, 2]"),
        ('[{"a": 1}, {"a": 2}', Reason.FILE_NOT_A_TABLE, "JSON is damaged or not whole"),
        ('[{"a": 1}, 5]', Reason.FILE_NOT_A_TABLE, "item 1 of its list is not an object but 5"),
        ("[[1, 2], [3, 4]]", Reason.FILE_NOT_A_TABLE, "its JSON is a list of lists"),
        ('{"x": [{"a": 1}],\n "y": [{"b": 1}]}', Reason.FILE_NOT_A_TABLE, "2 lists of objects ('x', 'y')"),
        ('{"x": [1, 2],\n "y": [1]}', Reason.FILE_NOT_A_TABLE, "1 to 2 cells"),
        ("[]", Reason.FILE_EMPTY, "has no rows"),
        ("{}", Reason.FILE_EMPTY, "has no rows"),
        ("[{}, {}]", Reason.FILE_EMPTY, "has no rows"),
        ('[{"a": ' + "[" * 100_000 + "]" * 100_000 + "}]", Reason.FILE_NOT_A_TABLE, "JSON"),
        ('{"a": ' + '{"b": ' * 100_000 + "1" + "}" * 100_001, Reason.FILE_NOT_A_TABLE, "JSON"),
    ],
)
def test_json_that_is_no_table_is_refused_with_the_place(
    converted: Convert, content: str, reason: Reason, text: str
) -> None:
    error = refused(lambda: converted(content, "t.json"))
    assert error.reason is reason
    assert text in error.message
    assert "'t.json'" in error.message


def test_half_characters_in_json_are_replaced(converted: Convert) -> None:
    _, values = converted('[{"a": "x\\ud800"}]')
    assert values == {"a": ["x?"]}


# Workbooks

SHEET: Sequence[Sequence[Cell]] = [
    [],
    ["name", "count", "share", "ok", "day", "", "name"],
    ["Ann", 1, 0.5, True, date(2024, 1, 31), None, "x"],
    ["Bob", 2.0, ERROR, False, datetime(2024, 2, 1, 12, 30), None, "y"],  # noqa: DTZ001  # sheets know no zones
    [None, None, None, None, None, None, None],
    ["Cäsar", None, 1e-3, True, None, None, "z"],
]


@pytest.mark.parametrize("ending", WORKBOOKS)
def test_a_sheet_of_each_kind_of_workbook_is_a_table(converted: Convert, ending: str) -> None:
    content = WORKBOOKS[ending]({"Notes": [], "Data & more": SHEET})
    table, values = converted(content, f"book.{ending}")
    assert values == {
        "name": ["Ann", "Bob", "Cäsar"],
        "count": [1, 2, None],
        "share": [0.5, None, 0.001],
        "ok": [True, False, True],
        "day": [datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, 12, 30, tzinfo=UTC), None],
        "name_2": ["x", "y", "z"],
    }
    assert table.format == FileFormat(FormatKind.EXCEL, sheet="Data & more", compression=Compression.NONE)


BOOK = xlsx({"One": [["a"], [1]]})


def test_the_sheet_that_is_named_is_taken(converted: Convert) -> None:
    book = xlsx({"One": [["a"], [1]], "Two": [["b"], [2]]})
    _, values = converted(book, "book.xlsx", FileFormat(sheet="Two"))
    assert values == {"b": [2]}
    error = refused(lambda: converted(book, "book.xlsx", FileFormat(sheet="Three")))
    assert (error.reason, [each.field for each in error.violations]) == (Reason.FILE_PART_NOT_FOUND, ["format.sheet"])
    assert "it has 'One', 'Two'" in error.message


def test_a_sheet_may_have_no_header_and_merged_cells(converted: Convert) -> None:
    book = xlsx({"One": [["a", 1], ["b", 2]]}, merged="A1:A2")
    _, values = converted(book, "book.xlsx", FileFormat(has_no_header=True))
    assert values == {"column_1": ["a", "b"], "column_2": [1, 2]}


def test_a_sheet_with_one_cell_far_away_is_refused_before_it_fills_memory(converted: Convert) -> None:
    error = refused(lambda: converted(_changed(BOOK, 'r="A2"', 'r="XFD1048576"'), "book.xlsx"))
    assert error.reason is Reason.TOO_MANY_ROWS
    assert "reaches to row 1048576 and column 16384" in error.message


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        (xlsx({"One": []}), Reason.FILE_EMPTY, "no sheet of its workbook has a value"),
        (xlsx({"One": [["a", "b"]]}), Reason.FILE_EMPTY, "has no rows"),
        (WORKBOOKS["xls"]({"One": [["a"], [1]]})[:600], Reason.FILE_NOT_A_TABLE, "workbook is damaged"),
        (BOOK.replace(b"xl/workbook.xml", b"xl/workb00k.xml"), Reason.FILE_EMPTY, "no sheet"),
        (BOOK[:-40], Reason.FILE_NOT_A_TABLE, "its end is missing"),
    ],
)
def test_a_workbook_without_a_table_is_refused(converted: Convert, content: bytes, reason: Reason, text: str) -> None:
    error = refused(lambda: converted(content, "book.xlsx"))
    assert error.reason is reason
    assert text in error.message


def _changed(book: bytes, old: str, new: str) -> bytes:
    """A workbook with other text in its parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as before, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).replace(old.encode(), new.encode()))
    return buffer.getvalue()


# SQLite


@pytest.fixture
def database(tmp_path: Path) -> Callable[..., bytes]:
    def make(*statements: str, rows: Mapping[str, Sequence[Sequence[object]]] | None = None) -> bytes:
        path = tmp_path / "made.db"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        for table, values in (rows or {}).items():
            marks = ", ".join("?" * len(values[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)  # ours
        connection.commit()
        connection.close()
        return path.read_bytes()

    return make


def test_a_database_whose_column_has_no_readable_name_is_refused(
    converted: Convert, database: Callable[..., bytes]
) -> None:
    content = database("CREATE TABLE t (abcdef INTEGER)", rows={"t": [[1]]}).replace(b"abcdef", b"\x80bcdef")
    error = refused(lambda: converted(content, "t.sqlite"))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "name that is not UTF-8" in error.message


def test_the_only_table_of_a_database_is_taken(converted: Convert, database: Callable[..., bytes]) -> None:
    content = database(
        "PRAGMA journal_mode = WAL",
        'CREATE TABLE "odd ""name" '
        '(id INTEGER PRIMARY KEY, code TEXT, mixed, flag BOOLEAN, photo BLOB, day TEXT, "id " REAL)',
        'CREATE VIEW twice AS SELECT id * 2 AS id2 FROM "odd ""name"',
        rows={
            '"odd ""name"': [
                (1, "10", 1, True, b"\x00\x01", "2024-01-31", 0.5),
                (2, "20", "x", False, b"\x02", "2024-02-01", 2),
                (3, None, 2.5, None, None, None, None),
            ]
        },
    )
    table, values = converted(content, "data.sqlite")
    assert values == {
        "id": [1, 2, 3],
        "code": [10, 20, None],
        "mixed": ["1", "x", "2.5"],
        "flag": [1, 0, None],
        "day": [datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC), None],
        "id_2": [0.5, 2.0, None],
    }
    assert (table.format.kind, table.format.table) == (FormatKind.SQLITE, 'odd "name')
    left_out = [each for each in table.warnings if each.kind is WarningKind.COLUMN_LEFT_OUT]
    assert [(each.column, each.count) for each in left_out] == [("photo", 2)]
    _, view = converted(content, "data.sqlite", FileFormat(table="twice"))
    assert view == {"id2": [2, 4, 6]}


def test_a_table_must_be_named_where_there_are_several(converted: Convert, database: Callable[..., bytes]) -> None:
    content = database("CREATE TABLE a (x)", "CREATE TABLE b (y)", rows={"b": [(1,)]})
    error = refused(lambda: converted(content, "data.db"))
    assert (error.reason, [each.field for each in error.violations]) == (Reason.INVALID_FIELD, ["format.table"])
    assert "'a', 'b'" in error.message
    assert converted(content, "data.db", FileFormat(table="b"))[1] == {"y": [1]}
    assert refused(lambda: converted(content, "data.db", FileFormat(table="a"))).reason is Reason.FILE_EMPTY
    error = refused(lambda: converted(content, "data.db", FileFormat(table="c; DROP TABLE a")))
    assert error.reason is Reason.FILE_PART_NOT_FOUND
    assert "it has 'a', 'b'" in error.message


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SELECT * FROM nowhere", "no such table"),
        ("SELECT load_extension('x')", "can't be read"),
    ],
)
def test_a_schema_is_not_trusted(converted: Convert, database: Callable[..., bytes], query: str, text: str) -> None:
    error = refused(lambda: converted(database(f"CREATE VIEW v AS {query}"), "data.db"))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert text in error.message


def test_a_view_that_computes_for_ever_ends(
    converted: Convert, database: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scraper_server.tables.sqlite.MOST_CALLS_A_ROW", 3)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS c FROM n"
    error = refused(lambda: converted(database(f"CREATE VIEW v AS {endless}"), "data.db"))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "computes row 0 without end" in error.message


def test_a_damaged_database_is_told(converted: Convert, database: Callable[..., bytes]) -> None:
    content = database("CREATE TABLE a (x)", rows={"a": [("word" * 100,)] * 500})
    error = refused(lambda: converted(content[:8192] + b"\xff" * (len(content) - 8192), "data.db"))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "its database can't be read" in error.message


# Parquet


def parquet_of(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_every_plain_type_of_parquet_is_taken(converted: Convert) -> None:
    day = date(2024, 1, 31)
    arrays: dict[str, Any] = {
        "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
        "wide": pa.array([Decimal("2.25"), Decimal(-1)], pa.decimal256(60, 2)),
        "half": pa.array([0.5, 1.5], pa.float16()),
        "day": pa.array([day, None], pa.date32()),
        "time": pa.array([time(9, 30), time(10, 0, 5)], pa.time32("s")),
        "span": pa.array([timedelta(seconds=90), None], pa.duration("ns")),
        "kind": pa.array(["x", "x"]).dictionary_encode(),
        "code": pa.array([b"ab", b"cd"], pa.binary()),
        "view": pa.array(["u", "u"], pa.string_view()),
        "hash": pa.array([2**64 - 1, 3], pa.uint64()),
        "nothing": pa.nulls(2),
        "when": pa.array([datetime(2024, 1, 31, tzinfo=UTC), None], pa.timestamp("ns", "Europe/Berlin")),
    }
    table, values = converted(parquet_of(pa.table(arrays)), "t.parquet")
    assert values == {
        "decimal": [1.5, None],
        "wide": [2.25, -1.0],
        "half": [0.5, 1.5],
        "day": [datetime(2024, 1, 31, tzinfo=UTC), None],
        "time": ["09:30:00", "10:00:05"],
        "span": [90.0, None],
        "kind": ["x", "x"],
        "code": ["ab", "cd"],
        "view": ["u", "u"],
        "hash": ["18446744073709551615", "3"],
        "nothing": [None, None],
        "when": [datetime(2024, 1, 31, tzinfo=UTC), None],
    }
    assert [each.kind for each in table.warnings].count(WarningKind.COLUMN_LEFT_OUT) == 0


def test_what_parquet_nests_and_bytes_are_left_out_with_a_warning(converted: Convert) -> None:
    nested = pa.Table.from_arrays(
        [
            pa.array([{"x": 1, "y": [1]}, None]),
            pa.array([1, 2]),
            pa.array([["a"], []]),
            pa.array([b"\xff\xfe", b""]),
            pa.array([3, 4]),
        ],
        names=["point", "a.b", "tags", "photo", "a.b"],
    )
    table, values = converted(parquet_of(nested), "t.parquet")
    assert values == {"a.b": [1, 2], "a.b_2": [3, 4]}
    left_out = {each.column: each.message for each in table.warnings if each.kind is WarningKind.COLUMN_LEFT_OUT}
    assert left_out.keys() == {"point", "tags", "photo"}
    assert "type list" in left_out["tags"]
    assert [each.column for each in table.warnings if each.kind is WarningKind.COLUMN_RENAMED] == ["a.b_2"]
    error = refused(lambda: converted(parquet_of(nested.select([2, 3])), "t.parquet"))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "no column is left: column 'tags' holds" in error.message


# All

MANY = [{"a": number, "b": "word"} for number in range(30)]


def _sqlite(rows: Sequence[Mapping[str, object]], path: Path) -> bytes:
    frame = pd.DataFrame(rows)
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        frame.to_sql("t", connection, index=False)
    return path.read_bytes()


def _files(rows: Sequence[Mapping[str, object]], folder: Path) -> dict[str, bytes]:
    frame = pd.DataFrame(rows)
    sheet: list[list[Any]] = [list(frame.columns), *frame.astype(object).values.tolist()]
    frame.to_parquet(folder / "t.parquet")
    return {
        "t.csv": frame.to_csv(index=False).encode(),
        "t.json": frame.to_json(orient="records").encode(),
        "columns.json": frame.to_json(orient="columns").encode(),
        "t.jsonl": frame.to_json(orient="records", lines=True).encode(),
        "t.xlsx": xlsx({"One": sheet}),
        "t.xlsb": WORKBOOKS["xlsb"]({"One": sheet}),
        "t.xls": WORKBOOKS["xls"]({"One": sheet}),
        "t.ods": ods({"One": sheet}),
        "t.sqlite": _sqlite(rows, folder / "made.db"),
        "t.parquet": (folder / "t.parquet").read_bytes(),
        "t.csv.gz": gzip.compress(frame.to_csv(index=False).encode()),
    }


def test_the_same_rows_give_the_same_data_set_whatever_the_file(converted: Convert, tmp_path: Path) -> None:
    digests = {name: converted(content, name)[0].digest for name, content in _files(MANY, tmp_path).items()}
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (TableLimits(max_rows=29), Reason.TOO_MANY_ROWS),
        (TableLimits(max_columns=1), Reason.TOO_MANY_COLUMNS),
        (TableLimits(max_cell_bytes=3), Reason.CELL_TOO_LARGE),
    ],
)
def test_limits_hold_for_every_format(converted: Convert, tmp_path: Path, limits: TableLimits, reason: Reason) -> None:
    for name, content in _files(MANY, tmp_path).items():
        converted(content, name, limits=Limits(table=TableLimits(30, 2, 4)))
        with pytest.raises(ResourceExhausted) as caught:
            converted(content, name, limits=Limits(table=limits))
        assert caught.value.reason is reason, name


def test_a_kind_that_the_content_contradicts_is_refused(converted: Convert, tmp_path: Path) -> None:
    files = _files(MANY, tmp_path)
    for name, content in files.items():
        for kind in (FormatKind.PARQUET, FormatKind.EXCEL, FormatKind.SQLITE):
            with contextlib.suppress(InvalidArgument):
                assert converted(content, name, FileFormat(kind))[0].format.kind is kind
    error = refused(lambda: converted(files["t.xlsx"], "t.xlsx", FileFormat(FormatKind.DELIMITED)))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "it is a workbook, not delimited text" in error.message
    error = refused(lambda: converted(files["t.csv"], "t.csv", FileFormat(FormatKind.JSON)))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    for wanted, field in ((FileFormat(sheet="x"), "format.sheet"), (FileFormat(table="x"), "format.table")):
        error = refused(lambda wanted=wanted: converted(files["t.csv"], "t.csv", wanted))  # type: ignore[misc]
        assert (error.reason, [each.field for each in error.violations]) == (Reason.INVALID_FIELD, [field])


def test_text_is_read_as_the_kind_that_is_asked_for(converted: Convert) -> None:
    line = '{"a": 1, "b": {"c": 2}}'
    assert converted(line)[0].format.kind is FormatKind.JSON
    table, values = converted(line, wanted=FileFormat(FormatKind.JSON_LINES))
    assert table.format.kind is FormatKind.JSON_LINES
    assert values == {"a": [1], "b.c": [2]}
    assert converted('{"a";"b"}\n1;2\n', wanted=FileFormat(FormatKind.DELIMITED, delimiter=";"))[0].row_count == 1


def test_types_are_chosen_for_columns_of_every_format(converted: Convert, tmp_path: Path) -> None:
    chosen = FileFormat(column_types=(("a", ColumnType.TEXT),))
    for name, content in _files(MANY, tmp_path).items():
        assert types_of(converted(content, name, chosen)[0])["a"] == "text", name


def test_progress_never_goes_back_through_all_stages(tmp_path: Path) -> None:
    rows = [{"a": number, "b": "some text"} for number in range(20_000)]
    for name, content in _files(rows, tmp_path).items():
        source = tmp_path / "source"
        source.write_bytes(content if name.endswith(".gz") else gzip.compress(content))
        out = tmp_path / f"out-{name}"
        out.mkdir()
        told: list[tuple[int, int]] = []

        def tell(phase: ConversionPhase, done: int, total: int, told: list[tuple[int, int]] = told) -> None:
            if phase is ConversionPhase.CONVERTING:
                told.append((done, total))

        convert(source, f"{name}.gz", FileFormat(), Limits(), out, tell)
        assert told == sorted(told), name
        assert told[-1][0] == told[-1][1] == source.stat().st_size, name


FUZZED = [
    {"a": 1, "b": 2.5, "c": "x", "d": True},
    {"a": 2, "b": -1.0, "c": "ü, y", "d": False},
    {"a": 3, "b": 0.0, "c": "z", "d": True},
] * 20


@pytest.mark.parametrize(
    "name",
    [
        "t.csv",
        "t.json",
        "columns.json",
        "t.jsonl",
        "t.xlsx",
        "t.xlsb",
        "t.xls",
        "t.ods",
        "t.sqlite",
        "t.parquet",
        "t.csv.gz",
    ],
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(data=st.data())
def test_a_garbled_file_is_read_or_refused(converted: Convert, tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(_files(FUZZED, tmp_path)[name])
    positions = st.integers(0, len(content) - 1)
    for at, byte in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=8)):
        content[at] = byte
    if data.draw(st.booleans()):
        del content[data.draw(positions) :]
    with contextlib.suppress(FlareError):
        converted(bytes(content), name)
