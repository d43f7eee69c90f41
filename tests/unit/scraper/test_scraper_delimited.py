"""Hostile files of delimited text: what becomes of them, and what is told."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scraper_server.limits import TableLimits
from scraper_server.tables import blocks
from scraper_server.tables.delimited import DelimitedFile
from scraper_server.tables.formats import FileFormat, RaggedRows
from scraper_server.tables.reader import Misread
from scraper_server.tables.schema import CellExample, ColumnType, TableWarning, WarningKind
from servicekit.errors import FlareError, InvalidArgument, Reason, ResourceExhausted


class Read:
    """A file that was read to its end."""

    def __init__(self, path: Path, content: str | bytes, wanted: FileFormat, limits: TableLimits, name: str) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        file = DelimitedFile(path, wanted, name, limits)
        for _ in range(10):
            try:
                rows = [
                    row
                    for batch in file.batches(lambda _: None)
                    for row in zip(*batch.to_pydict().values(), strict=True)
                ]
                break
            except Misread:
                continue
        else:
            pytest.fail("never settles")
        self.rows = rows
        self.names = [column.name for column in file.columns]
        self.types = [column.type.value for column in file.columns]
        self.columns = file.columns
        self.format = file.format
        self.warnings = file.warnings

    def values(self, position: int = 0) -> list[Any]:
        return [row[position] for row in self.rows]

    def warning(self, kind: WarningKind) -> TableWarning:
        (found,) = [each for each in self.warnings if each.kind is kind]
        return found


Reader = Callable[..., Read]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def run(
        content: str | bytes,
        wanted: FileFormat | None = None,
        limits: TableLimits | None = None,
        name: str = "table.csv",
    ) -> Read:
        return Read(tmp_path / "table", content, wanted or FileFormat(), limits or TableLimits(), name)

    return run


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a test's file has many."""
    monkeypatch.setattr("scraper_server.tables.delimited.BLOCK_BYTES", 256)


def refused(call: Callable[[], object], kind: type[FlareError] = InvalidArgument) -> FlareError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def chosen(**types: ColumnType) -> FileFormat:
    return FileFormat(column_types=tuple(types.items()))


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\r\n1,x\r\n2,y\r\n", [(1, "x"), (2, "y")]),
        ("a,b\r1,x\r2,y\r", [(1, "x"), (2, "y")]),
        ("a,b\n1,x\n2,y", [(1, "x"), (2, "y")]),
        ("\n\na,b\n\n1,x\n\n2,y\n\n", [(1, "x"), (2, "y")]),
        ("\ufeffa,b\n1,x\n2,y\n", [(1, "x"), (2, "y")]),
        ('a,b\n1,"x,\r\n""y"""\n', [(1, 'x,\r\n"y"')]),
        ('a,b\n1,x"y\n2,"y"z\n3,"x""\n4,z"\n', [("1", 'x"y'), ("2", "yz"), ("3", 'x"\n4,z')]),
        ('a,b\n1,""\n2,"NA"\n3, null \n', [(1, None), (2, None), (3, None)]),
        ("a,b\n1,x\n   \n2,y\n", [(1, "x"), (2, "y")]),
        ("a\n1\n\n2\n", [(1,), (2,)]),
    ],
)
def test_rows_end_where_they_do_in_other_programs(read: Reader, content: str, rows: list[Any]) -> None:
    found = read(content).rows
    assert [tuple(map(str, row)) for row in found] == [tuple(map(str, row)) for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "shift_jis"])
def test_a_file_in_many_blocks_is_whole_in_any_encoding(read: Reader, small_blocks: None, encoding: str) -> None:
    word = "日本語の文字" if encoding == "shift_jis" else "Zürich, naïve, 5 €"
    text = "n,word\n" + "".join(f'{number},"{word}\n{number}"\n' for number in range(200))
    found = read(text.encode(encoding))
    assert found.rows == [(number, f"{word}\n{number}") for number in range(200)]


def test_an_encoding_that_only_a_late_byte_shows_is_found(read: Reader) -> None:
    head = "n,word\n" + "1,plain\n" * 60_000  # more than the beginning that is looked at first
    found = read(head.encode() + "2,café\n".encode("cp1252"))
    assert found.format.encoding == "windows-1252"
    assert found.rows[-1] == (2, "café")
    error = refused(lambda: read(head.encode() + "2,café\n".encode("cp1252"), FileFormat(encoding="utf-8")))
    assert f"byte {len(head) + 5} is not utf-8" in error.message


@pytest.mark.parametrize(
    ("text", "delimiter", "quote"),
    [
        ("a;b;c\n1,5;2,5;x\n3,5;4,5;y\n", ";", '"'),
        ("a\tb\n1,2\t3\n", "\t", '"'),
        ("a,b\n'1,5',2\n'2,5',3\n", ",", "'"),
        ("a,b\nit's,1\n'tis,2\n", ",", '"'),
        ('a|b\n"x|y"|1\n', "|", '"'),
        ("only\n1\n2\n", ",", '"'),
    ],
)
def test_delimiter_and_quote_are_found(read: Reader, text: str, delimiter: str, quote: str) -> None:
    found = read(text)
    assert (found.format.delimiter, found.format.quote) == (delimiter, quote)


def test_any_ascii_character_can_be_a_delimiter_or_quote_on_request(read: Reader) -> None:
    found = read("a:b\n~1:2~:3\n", FileFormat(delimiter=":", quote="~"))
    assert found.rows == [("1:2", 3)]
    found = read("a b\n1 2\n", FileFormat(delimiter=" "))
    assert found.rows == [(1, 2)]


def test_comments_are_left_out_but_counted_as_lines(read: Reader, small_blocks: None) -> None:
    body = "".join(f'{number},"x\n# within"\n# it\'s "a comment"\n' for number in range(50))
    found = read(f"# head\na,b\n{body}1\n# end", FileFormat(comment="#"))
    assert found.rows == [(number, "x\n# within") for number in range(50)]
    assert found.format.comment == "#"
    (example,) = found.warning(WarningKind.ROWS_RAGGED).examples
    assert (example.line, example.value) == (2 + 150 + 1, "1")


def test_without_a_header_the_first_row_is_one(read: Reader) -> None:
    found = read("5.1,3.5,setosa\n4.9,3.0,setosa\n", FileFormat(has_no_header=True))
    assert found.names == ["column_1", "column_2", "column_3"]
    assert found.values(0) == [5.1, 4.9]
    assert not found.warnings
    doubted = read("5.1,3.5,setosa\n4.9,3.0,setosa\n")
    assert "has_no_header" in doubted.warning(WarningKind.AMBIGUOUS).message
    assert not read("country,1990,1991,1992\nx,1,2,3\n").warnings


def wide(count: int, ragged: Sequence[int]) -> str:
    """Rows of three cells on lines 2 on, of which those on some lines have two."""
    return "a,b,c\n" + "".join("1,2\n" if line in ragged else f"{line},2,3\n" for line in range(2, count + 2))


def test_few_ragged_rows_are_left_out_and_told(read: Reader, small_blocks: None) -> None:
    found = read(wide(1000, [7, 500, 1001]))
    assert len(found.rows) == 997
    warning = found.warning(WarningKind.ROWS_RAGGED)
    assert warning.count == 3
    assert [example.line for example in warning.examples] == [7, 500, 1001]
    assert warning.examples[0] == CellExample(5, 7, "1,2")
    assert (
        "3 rows have more or fewer cells than the 3 of the header, and were left out: line 7 has 2" in warning.message
    )
    assert found.format.ragged_rows is RaggedRows.SKIP


@pytest.mark.parametrize(("ragged", "is_refused"), [(5, False), (6, True)])
def test_more_than_one_ragged_row_in_20_is_too_many(read: Reader, ragged: int, is_refused: bool) -> None:
    text = wide(100, range(2, 2 + ragged))
    if not is_refused:
        assert len(read(text).rows) == 95
        return
    error = refused(lambda: read(text))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "6 of 100 rows, more than 1 in 20, are ragged: line 2 has 2 cells where the header has 3, line 3 has 2" in (
        error.message
    )
    assert "and 1 more" in error.message
    assert len(read(text, FileFormat(ragged_rows=RaggedRows.SKIP)).rows) == 94


def test_one_ragged_row_is_too_many_if_none_may_be(read: Reader) -> None:
    error = refused(lambda: read(wide(1000, [700]), FileFormat(ragged_rows=RaggedRows.FAIL)))
    assert "line 700 has 2 cells where the header has 3" in error.message


def test_ragged_rows_are_filled_in_their_places(read: Reader, small_blocks: None) -> None:
    text = 'a,b,c\n1,2,3\n4\n \n5,"6\n6",7,8\n9,,10\n' * 1 + "1,2,3\n" * 100 + "x,y\n"
    found = read(text, FileFormat(ragged_rows=RaggedRows.FILL))
    assert found.rows[:4] == [("1", "2", 3), ("4", None, None), ("5", "6\n6", 7), ("9", None, 10)]
    assert found.rows[-1] == ("x", "y", None)
    warning = found.warning(WarningKind.ROWS_RAGGED)
    assert [(example.row, example.line) for example in warning.examples] == [(1, 3), (2, 5), (104, 108)]
    assert warning.examples[1].value == '5,"6\n6",7,8'


def test_lines_are_right_after_line_breaks_in_quotes(read: Reader, small_blocks: None) -> None:
    rows = [f'{number},"two\r\nlines",x\r\n' for number in range(300)]
    rows[250] = "250,two\r\n"
    found = read("a,b,c\r\n" + "".join(rows))
    (example,) = found.warning(WarningKind.ROWS_RAGGED).examples
    assert example == CellExample(250, 2 + 250 * 2, "250,two")


def test_only_the_first_20_ragged_rows_are_shown(read: Reader) -> None:
    warning = read(wide(1000, range(100, 140))).warning(WarningKind.ROWS_RAGGED)
    assert warning.count == 40
    assert [example.line for example in warning.examples] == list(range(100, 120))


@pytest.mark.usefixtures("small_blocks")
def test_a_quote_that_is_never_closed_is_named_by_its_line(read: Reader) -> None:
    text = "a,b\n" + '1,"fine\n"\n' * 100 + '2,"open\n' + "3,x\n" * 50
    error = refused(lambda: read(text))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "the quote that opens in line 202 is never closed" in error.message


@pytest.mark.usefixtures("small_blocks")
def test_cells_above_the_limit_are_refused_with_their_place(read: Reader) -> None:
    limits = TableLimits(max_cell_bytes=1000)
    text = "a,b\n" + "1,x\n" * 100 + "2," + "y" * 1001 + "\n" + "1,x\n" * 100
    error = refused(lambda: read(text, limits=limits), ResourceExhausted)
    assert error.reason is Reason.CELL_TOO_LARGE
    assert "of column 'b' in line 102" in error.message
    endless = "a,b\n" + "1,x\n" * 100 + '2,"' + "1,x\n" * 1000
    error = refused(lambda: read(endless, limits=limits), ResourceExhausted)
    assert error.reason is Reason.CELL_TOO_LARGE
    assert "whose quote opens in line 102" in error.message
    assert read(text.replace("y" * 1001, "y" * 1000), limits=limits).values(1)[100] == "y" * 1000


def test_a_line_that_never_ends_is_no_row(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONGEST_ROW_BYTES", 1000)
    monkeypatch.setattr("scraper_server.tables.delimited.BLOCK_BYTES", 256)
    error = refused(lambda: read("a,b\n" + "1," * 5000))
    assert "line 2 is longer than" in error.message


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1.234,56", "7,5"], "float", [1234.56, 7.5]),
        (["1,234.56", "7.5"], "float", [1234.56, 7.5]),
        (["1 234,5", "12\u00a0345,5"], "float", [1234.5, 12345.5]),
        (["1'234", "12'345"], "integer", [1234, 12345]),
        (["1,234,567", "999"], "integer", [1234567, 999]),
        (["1,5", "22,75"], "float", [1.5, 22.75]),
        (["1.234", "5.678"], "float", [1.234, 5.678]),
        (["1,23,456", "7"], "categorical", None),  # no grouping of thousands
        (["+1.5", "-.5", "2."], "float", [1.5, -0.5, 2.0]),
        (["007", "8"], "text", None),
        (["-0", "0"], "integer", [0, 0]),
        (["0.5", "00.5"], "float", [0.5, 0.5]),
        (["1e5", "2E-3"], "float", [1e5, 2e-3]),
        (["9223372036854775808", "1"], "text", None),
        (["9223372036854775807", "1"], "integer", [9223372036854775807, 1]),
        (["9223372036854775807", "1.5"], "text", None),
    ],
)
def test_numbers_are_read_as_they_are_written(read: Reader, cells: list[str], kind: str, values: Any) -> None:
    found = read("x\ty\n" + "".join(f"{cell}\tz\n" for cell in cells))
    assert found.types[0] == kind or (kind == "categorical" and found.types[0] == "text")
    assert found.values() == (values or cells)
    assert not found.warnings


def test_a_comma_that_may_be_either_is_told(read: Reader) -> None:
    text = "x\ty\n1,234\tz\n5,678\tz\n"
    found = read(text)
    assert found.values() == [1234, 5678]
    assert "taken for one that groups digits: import with decimal_separator ','" in (
        found.warning(WarningKind.AMBIGUOUS).message
    )
    assert (found.format.decimal_separator, found.format.thousands_separator) == (".", ",")
    asked = read(text, FileFormat(decimal_separator=","))
    assert asked.values() == [1.234, 5.678]
    assert not asked.warnings
    assert asked.format.decimal_separator == ","


def test_another_column_shows_what_a_comma_is(read: Reader) -> None:
    found = read("x;y\n1,234;0,5\n5,678;1,5\n")
    assert found.values() == [1.234, 5.678]
    assert not found.warnings
    found = read("x;y\n1.234;0,5\n5.678;1,5\n")
    assert found.values() == [1234, 5678]
    assert (found.format.decimal_separator, found.format.thousands_separator) == (",", ".")
    found = read("x\ty\n1,234\t0.5\n5,678\t1.5\n")
    assert found.values() == [1234, 5678]
    assert not found.warnings


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2024-01-31", "2024-01-31T00:00:00"),
        ("2024-01-31 12:30", "2024-01-31T12:30:00"),
        ("2024-01-31T12:30:45.123456789", "2024-01-31T12:30:45.123456"),
        ("2024-01-31T12:30:45+02:00", "2024-01-31T10:30:45"),
        ("2024/01/31", "2024-01-31T00:00:00"),
        ("31/1/2024 7:05", "2024-01-31T07:05:00"),
        ("1/31/2024 12:05 AM", "2024-01-31T00:05:00"),
        ("1/31/24", "2024-01-31T00:00:00"),
        ("31-Jan-2024", "2024-01-31T00:00:00"),
        ("31 january 2024", "2024-01-31T00:00:00"),
        ("Jan 31, 2024", "2024-01-31T00:00:00"),
        ("31.12.1999", "1999-12-31T00:00:00"),
        ("31-12-1999", "1999-12-31T00:00:00"),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("2024-02-30", None),
        ("31/4/2024", None),
        ("0000-01-01", None),
        ("24-01-31", None),
        ("2024-W05", None),
        ("2024-01-31 24:00", None),
    ],
)
def test_dates_and_times_are_read_as_they_are_written(read: Reader, cell: str, moment: str | None) -> None:
    found = read(f'd,x\n"{cell}",1\n,2\n')
    assert found.values() == [datetime.fromisoformat(f"{moment}+00:00") if moment else cell, None]


def test_days_and_months_that_could_be_swapped_stay_text_until_somebody_chooses(read: Reader) -> None:
    text = "d,x\n1/2/2024,1\n3/4/2024,2\n"
    found = read(text)
    assert found.types[0] == "text"
    assert "days and months could be swapped" in found.warning(WarningKind.AMBIGUOUS).message
    found = read(text, chosen(d=ColumnType.DATETIME))
    assert found.values()[0] == datetime(2024, 1, 2, tzinfo=UTC)
    assert "month first was taken" in found.warning(WarningKind.AMBIGUOUS).message
    found = read(text + "31/1/2024,3\n", chosen(d=ColumnType.DATETIME))
    assert found.values()[0] == datetime(2024, 2, 1, tzinfo=UTC)
    assert not found.warnings


def test_a_type_that_nearly_all_cells_fit_is_told(read: Reader) -> None:
    cells = [str(number) for number in range(100)]
    cells[40] = "unknown"
    found = read("age,x\n" + "".join(f"{cell},1\n" for cell in cells))
    assert found.types[0] == "text"
    assert found.warning(WarningKind.CELLS_MISFIT).message == (
        "column 'age': 99 of 100 cells are integers; others such as 'unknown' (row 40) are not: import with "
        "column_types age=INTEGER to take those as missing"
    )
    fits = {fit.type: fit for fit in found.columns[0].type_fits}
    assert fits[ColumnType.TEXT].share == 1
    assert fits[ColumnType.INTEGER].share == 0.99
    assert fits[ColumnType.INTEGER].misfits == (CellExample(40, 42, "unknown"),)
    assert read("a,b\n1,x\n2,y\n").columns[0].type_fits[0].share == 1


def test_cells_that_do_not_fit_a_chosen_type_are_missing_and_counted(read: Reader, small_blocks: None) -> None:
    cells = [str(number) for number in range(500)]
    for at in range(100, 110):
        cells[at] = f"n/{at}"
    cells[200], cells[300] = "007", "5.0"
    found = read("age,x\n" + "".join(f"{cell},1\n" for cell in cells), chosen(age=ColumnType.INTEGER))
    assert found.types[0] == "integer"
    assert found.values()[99:111] == [99, *[None] * 10, 110]
    assert (found.values()[200], found.values()[300]) == (7, 5)
    warning = found.warning(WarningKind.CELLS_MISFIT)
    assert (warning.count, warning.column) == (10, "age")
    assert warning.examples[0] == CellExample(100, 102, "n/100")
    assert found.columns[0].type_fits[0].misfit_count == 10
    assert found.format.column_types == (("age", ColumnType.INTEGER),)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["00501", "1.5"], ColumnType.TEXT, ["00501", "1.5"]),
        (["00501", "10001"], ColumnType.INTEGER, [501, 10001]),
        (["1", "2"], ColumnType.FLOAT, [1.0, 2.0]),
        (["1,5", "2"], ColumnType.FLOAT, [1.5, 2.0]),
        (["yes", "0"], ColumnType.BOOLEAN, [True, False]),
        (["a", "b"], ColumnType.CATEGORICAL, ["a", "b"]),
        (["9007199254740993", "x"], ColumnType.INTEGER, [9007199254740993, None]),
        (["2024-01-31", "31-Jan-2024"], ColumnType.DATETIME, [datetime(2024, 1, 31, tzinfo=UTC)] * 2),
    ],
)
def test_a_chosen_type_is_taken(read: Reader, cells: list[str], kind: ColumnType, values: list[Any]) -> None:
    found = read("v\tx\n" + "".join(f"{cell}\t1\n" for cell in cells), chosen(v=kind))
    assert found.types[0] == kind.value
    assert found.values() == values


def test_a_chosen_type_holds_though_the_column_begins_empty(read: Reader, small_blocks: None) -> None:
    text = "d,x\n" + ",1\n" * 3000 + "13/1/2024,1\n" * 50
    found = read(text, chosen(d=ColumnType.DATETIME))
    assert found.values()[-1] == datetime(2024, 1, 13, tzinfo=UTC)
    assert not found.warnings


@pytest.mark.parametrize(
    ("types", "reason", "field", "text"),
    [
        (
            (("ages", ColumnType.INTEGER),),
            Reason.COLUMN_NOT_FOUND,
            "format.column_types[0].column",
            "did you mean 'age'",
        ),
        (
            (("age", ColumnType.INTEGER), ("age", ColumnType.FLOAT)),
            Reason.COLUMN_DUPLICATE,
            "format.column_types[1].column",
            "second time",
        ),
        ((("age", ColumnType.IMAGE),), Reason.INVALID_FIELD, "format.column_types[0].type", "IMAGE"),
    ],
)
def test_a_type_that_can_not_be_chosen_is_refused(
    read: Reader, types: Any, reason: Reason, field: str, text: str
) -> None:
    error = refused(lambda: read("age,x\n1,2\n", FileFormat(column_types=types)))
    assert error.reason is reason
    assert [violation.field for violation in error.violations] == [field]
    assert text in error.message


@pytest.mark.parametrize(
    ("early", "late", "kind"),
    [
        ("1", "1.5", "float"),
        ("1", "x", "text"),
        ("1.5", "1,234.5", "float"),
        ("1", "1,234", "integer"),
        ("", "true", "boolean"),
        ("", "2024-01-31", "datetime"),
        ("2024-01-31", "31-Jan-2024", "text"),
        ("5/6/2024", "13/6/2024", "datetime"),
        ("1,234", "1,5", "float"),
        ("1", "0123", "text"),
    ],
)
def test_what_a_late_cell_shows_counts_as_much_as_what_early_ones_do(
    read: Reader, small_blocks: None, early: str, late: str, kind: str
) -> None:
    found = read("v\tx\n" + f"{early}\t1\n" * 3000 + f"{late}\t1\n")
    assert found.types[0] in (kind, "categorical" if kind == "text" else kind)
    assert len(found.rows) == 3001


def test_reading_again_as_was_found_finds_the_same(read: Reader) -> None:
    text = "x;y;d;z\n1.234;0,5;31.1.2024;'a;b'\n5.678;1,5;1.2.2024;'c'\n"
    first = read(text)
    assert first.format.quote == "'"
    again = read(text, first.format)
    assert (again.rows, again.types, again.format) == (first.rows, first.types, first.format)


def test_wide_rows_are_read(read: Reader) -> None:
    width = 5000
    text = ",".join(f"c{at}" for at in range(width)) + "\n" + (",".join(["1.5"] * width) + "\n") * 20
    found = read(text)
    assert set(found.types) == {"float"}
    assert len(found.rows) == 20
