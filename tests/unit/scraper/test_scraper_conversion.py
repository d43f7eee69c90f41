"""Files of many makes become tables, or are refused with the reason."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from scraper_server.limits import Limits
from scraper_server.tables.conversion import TABLE_FILE, ConversionPhase, ConvertedTable, convert
from scraper_server.tables.formats import Compression, FileFormat, FormatKind, checked
from scraper_server.tables.schema import ColumnType, WarningKind
from servicekit.errors import FlareError, InvalidArgument, Reason

Converted = tuple[ConvertedTable, dict[str, list[Any]]]
Convert = Callable[..., Converted]


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    """Converts bytes, and returns what is known of the table and its columns."""
    count = 0

    def run(content: bytes | str, name: str = "table.csv", wanted: FileFormat | None = None) -> Converted:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        (folder / "out").mkdir(parents=True)
        source = folder / name
        source.write_bytes(content.encode() if isinstance(content, str) else content)
        table = convert(source, name, wanted or FileFormat(), Limits(), folder / "out", lambda *_: None)
        assert [path.name for path in (folder / "out").iterdir()] == [TABLE_FILE]
        return table, pq.read_table(folder / "out" / TABLE_FILE).to_pydict()

    return run


def types_of(table: ConvertedTable) -> dict[str, str]:
    return {column.name: column.type.value for column in table.columns}


def refusal(call: Callable[[], object]) -> FlareError:
    with pytest.raises(InvalidArgument) as caught:
        call()
    return caught.value


def test_each_type_is_found_from_all_cells(converted: Convert) -> None:
    table, values = converted(
        "whole,part,flag,day,kind,note,code\n"
        "1,1.5,true,2024-01-31,red,first words,00501\n"
        "-2,,False,2024-02-01,blue,other words,10001\n"
        "+3,1e-3,TRUE,,red,more words,90210\n"
    )
    assert types_of(table) == {
        "whole": "integer",
        "part": "float",
        "flag": "boolean",
        "day": "datetime",
        "kind": "categorical",
        "note": "text",
        "code": "text",
    }
    assert values["whole"] == [1, -2, 3]
    assert values["part"] == [1.5, None, 0.001]
    assert values["flag"] == [True, False, True]
    assert values["day"] == [datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC), None]
    assert values["code"] == ["00501", "10001", "90210"]
    assert table.row_count == 3


def test_a_type_that_the_last_row_breaks_is_not_taken(converted: Convert) -> None:
    rows = "\n".join(str(number) for number in range(70_000))
    table, values = converted(f"x,y\n{rows.replace(chr(10), ',1' + chr(10))},1\nlast,2\n")
    assert types_of(table) == {"x": "text", "y": "integer"}
    assert len(values["x"]) == 70_001
    assert values["x"][-1] == "last"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2024-01-31T12:00:00Z", "2024-01-31T12:00:00+02:00"], "datetime"),
        (["31.12.2024", "01.02.2024"], "datetime"),
        (["1/31/2024", "2/1/2024"], "datetime"),
        (["1/2/2024", "3/4/2024"], "text"),  # days and months can't be told apart
        (["2024-02-30", "2024-01-01"], "text"),  # no such day
        (["12345678901234567890", "22345678901234567890"], "text"),  # a float would blur them
        (["0x1F", "0x20"], "text"),
        (["1_000", "2_000"], "text"),
        (["inf", "1.5"], "float"),
        (["9223372036854775807", "-9223372036854775808"], "integer"),
    ],
)
def test_cells_that_only_look_like_another_type_keep_what_they_say(
    converted: Convert, cells: list[str], expected: str
) -> None:
    table, _ = converted("x,y\n" + "".join(f'"{cell}",1\n' for cell in cells))
    assert types_of(table)["x"] == expected


def test_day_first_dates_are_read_day_first_where_a_day_shows_it(converted: Convert) -> None:
    _, values = converted("d,y\n13/1/2024,1\n2/1/2024,1\n")
    assert values["d"] == [datetime(2024, 1, 13, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)]


def test_marks_of_missing_values_are_missing_and_others_are_values(converted: Convert) -> None:
    table, values = converted('a,b\n1, x \nNA,n/a\n"",NULL\nnan,-\n')
    assert values == {"a": [1, None, None, None], "b": ["x", "n/a", None, "-"]}
    assert types_of(table)["a"] == "integer"


def test_numbers_that_are_not_finite_are_missing(converted: Convert) -> None:
    _, values = converted("x,y\ninf,1\n1e999,1\n2.5,1\n")
    assert values["x"] == [None, None, 2.5]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("name;city\nJosé;München\n".encode(), "utf-8"),
        ("\ufeffname;city\nJosé;München\n".encode(), "utf-8"),
        ("name;city\nJosé;München\n".encode("utf-16"), "utf-16"),
        ("name;city\nJosé;München\n".encode("utf-16-le"), "utf-16-le"),
        ("name;city\nJosé;München\n".encode("cp1252"), "windows-1252"),
    ],
)
def test_the_encoding_is_found(converted: Convert, content: bytes, encoding: str) -> None:
    table, values = converted(content)
    assert values == {"name": ["José"], "city": ["München"]}
    assert table.format == FileFormat(FormatKind.DELIMITED, ";", encoding, '"', ".", compression=Compression.NONE)


def test_cyrillic_text_is_not_taken_for_western(converted: Convert) -> None:
    text = "имя;город\n" + "Иван Иванович;Санкт-Петербург\nАнна Петровна;Нижний Новгород\n" * 5  # noqa: RUF001  # meant to be Cyrillic
    table, values = converted(text.encode("cp1251"))
    assert values["имя"][0] == "Иван Иванович"
    assert table.format.encoding == "windows-1251"


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found_though_cells_hold_others(converted: Convert, delimiter: str) -> None:
    others = [each for each in ",;|" if each != delimiter]
    rows = [["a", "b", "c"], ["1", f'"x{others[0]}y"', "2"], ["3", '"line\nbreak"', "4"]]
    table, values = converted("\n".join(delimiter.join(row) for row in rows) + "\n", "table.txt")
    assert table.format.delimiter == delimiter
    assert values == {"a": [1, 3], "b": [f"x{others[0]}y", "line\nbreak"], "c": [2, 4]}


def test_what_the_caller_says_of_the_format_is_not_detected(converted: Convert) -> None:
    wanted = checked(FileFormat(None, "|", "ISO-8859-1"))
    table, values = converted("a;b|c\n1;2|é\n".encode("latin-1"), wanted=wanted)
    assert table.format == FileFormat(FormatKind.DELIMITED, "|", "iso-8859-1", '"', ".", compression=Compression.NONE)
    assert values == {"a;b": ["1;2"], "c": ["é"]}


def test_columns_without_a_name_of_their_own_get_one_and_a_warning(converted: Convert) -> None:
    table, _ = converted("a,a,,a_2,a\n1,2,3,4,5\n")
    assert [column.name for column in table.columns] == ["a", "a_3", "column_3", "a_2", "a_4"]
    renamed = [each for each in table.warnings if each.kind is WarningKind.COLUMN_RENAMED]
    assert [each.column for each in renamed] == ["a_3", "column_3", "a_4"]
    assert renamed[0].message == "column 2 is called 'a_3': another column is called 'a' too"


def test_constant_and_empty_columns_are_warned_of(converted: Convert) -> None:
    table, _ = converted("same,none,some\n1,,1\n1,NA,2\n")
    assert {(each.column, each.kind) for each in table.warnings} == {
        ("same", WarningKind.COLUMN_CONSTANT),
        ("none", WarningKind.COLUMN_EMPTY),
    }


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        (b"", Reason.FILE_EMPTY, "it has no bytes"),
        (b" \n \n", Reason.FILE_EMPTY, "nothing but white space"),
        (b"a,b\n", Reason.FILE_EMPTY, "there is nothing below its header"),
        (b"\x00\x01\x02\xff" * 400, Reason.FILE_NOT_A_TABLE, "it is binary"),
        (b"<!DOCTYPE html><html></html>", Reason.FILE_NOT_A_TABLE, "web page"),
        (b"PAR1 not really", Reason.FILE_NOT_A_TABLE, "Parquet footer"),
        (b"a,b,c\n1,2,3\n4,5\n", Reason.FILE_NOT_A_TABLE, "line 3 has 2 cells where the header has 3"),
        (b'a,b\n"x\ny",2\n1,2,3\n', Reason.FILE_NOT_A_TABLE, "line 4 has 3 cells where the header has 2"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_the_place(
    converted: Convert, content: bytes, reason: Reason, text: str
) -> None:
    error = refusal(lambda: converted(content, "upload.csv"))
    assert error.reason is reason
    assert text in error.message
    assert "'upload.csv'" in error.message


def test_a_file_that_is_not_in_the_encoding_named_is_refused(converted: Convert) -> None:
    error = refusal(lambda: converted(b"a,b\n\xff,1\n", wanted=FileFormat(None, "", "utf-8")))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "byte 4 is not utf-8" in error.message


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (FileFormat(None, "::"), "format.delimiter"),
        (FileFormat(None, '"'), "format.delimiter"),
        (FileFormat(None, "", "utf-9"), "format.encoding"),
    ],
)
def test_a_format_that_can_not_be_is_refused(wanted: FileFormat, field: str) -> None:
    error = refusal(lambda: checked(wanted))
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


def test_parquet_of_others_becomes_the_six_types(converted: Convert, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "small": pd.array([1, 2, None], "Int8"),
            "half": pd.Series([0.5, float("nan"), float("inf")], dtype="float32"),
            "kind": pd.Categorical(["x", "y", "x"]),
            "day": pd.Series(["2024-01-01", "2024-01-02", None], dtype="datetime64[ns]"),
            "with.dot": [True, False, None],
        }
    )
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    table, values = converted((tmp_path / "in.parquet").read_bytes(), "in.parquet")
    assert types_of(table) == {
        "small": "integer",
        "half": "float",
        "kind": "categorical",
        "day": "datetime",
        "with.dot": "boolean",
    }
    assert values["half"] == [0.5, None, None]
    assert values["day"][:2] == [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)]
    assert table.format == FileFormat(FormatKind.PARQUET, compression=Compression.NONE)


def test_equal_tables_have_equal_digests_whatever_file_they_came_from(converted: Convert, tmp_path: Path) -> None:
    text = "a,b,c\n1,x,0.5\n2,y,-0.0\n,x,\n"
    first, values = converted(text)
    second, _ = converted(text.replace(",", ";").encode("utf-16"))
    pd.DataFrame(values).astype({"a": "Int64"}).to_parquet(tmp_path / "in.parquet")
    third, _ = converted((tmp_path / "in.parquet").read_bytes(), "in.parquet")
    assert first.digest == second.digest == third.digest
    for change in (text.replace("0.5", "0.6"), text.replace("a,b", "a,d"), text.replace("2,y", "2,")):
        assert converted(change)[0].digest != first.digest


def test_progress_never_goes_back_within_a_phase(tmp_path: Path) -> None:
    source = tmp_path / "big.csv"
    source.write_text("a,b\n" + "1.25,some text\n" * 100_000)
    told: list[tuple[ConversionPhase, int, int]] = []
    (tmp_path / "out").mkdir()
    convert(source, "big.csv", FileFormat(), Limits(), tmp_path / "out", lambda *step: told.append(step))
    for phase in ConversionPhase:
        steps = [(done, total) for each, done, total in told if each is phase]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1] > 0


def test_statistics_are_exact(converted: Convert) -> None:
    numbers = [3, 1, 2, 2, None, 10]
    table, _ = converted(
        "n,s,t\n" + "".join(f"{'' if n is None else n},v{n},2024-01-0{i + 1}\n" for i, n in enumerate(numbers))
    )
    n, s, t = (column.statistics for column in table.columns)
    assert n is not None
    assert n.numeric is not None
    assert (n.count, n.missing_count, n.distinct_count) == (5, 1, 4)
    assert (n.numeric.minimum, n.numeric.maximum, n.numeric.mean) == (1, 10, 3.6)
    assert n.numeric.standard_deviation == pytest.approx(pd.Series([3, 1, 2, 2, 10]).std(ddof=0))
    assert {each.probability: each.value for each in n.numeric.quantiles}[0.5] == 2
    assert sum(each.count for each in n.numeric.histogram) == 5
    assert (n.numeric.histogram[0].lower, n.numeric.histogram[-1].upper) == (1, 10)
    assert [(each.value, each.count) for each in n.most_frequent] == [("2", 2), ("1", 1), ("3", 1), ("10", 1)]
    assert s is not None
    assert s.numeric is None
    assert s.most_frequent[0].value == "v2"
    assert t is not None
    assert t.time is not None
    assert (t.time.minimum, t.time.maximum) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 6, tzinfo=UTC))


def test_float_columns_are_written_without_dictionaries(converted: Convert, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("f,s\n" + "0.5,word\n" * 1000)
    (tmp_path / "out").mkdir()
    convert(source, "in.csv", FileFormat(), Limits(), tmp_path / "out", lambda *_: None)
    group = pq.read_metadata(tmp_path / "out" / TABLE_FILE).row_group(0)
    assert not group.column(0).has_dictionary_page
    assert group.column(1).has_dictionary_page


def test_the_metadata_of_the_file_tells_categories_from_text(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("kind,note\nx,one\nx,two\nx,three\n")
    (tmp_path / "out").mkdir()
    convert(source, "in.csv", FileFormat(), Limits(), tmp_path / "out", lambda *_: None)
    types = json.loads((pq.read_metadata(tmp_path / "out" / TABLE_FILE).metadata or {})[b"flare.types"])
    assert types == {"kind": ColumnType.CATEGORICAL, "note": ColumnType.TEXT}


def test_types_can_be_chosen_for_columns_of_any_file(converted: Convert, tmp_path: Path) -> None:
    frame = pd.DataFrame({"code": ["00501", "x", None], "part": [1.0, 2.5, 3.0], "flag": [0, 1, 2]})
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    frame.to_json(tmp_path / "in.json", orient="records")
    choices = (
        ("code", ColumnType.INTEGER),
        ("part", ColumnType.INTEGER),
        ("flag", ColumnType.BOOLEAN),
    )
    for name in ("in.parquet", "in.json"):
        table, values = converted((tmp_path / name).read_bytes(), name, FileFormat(column_types=choices))
        assert values == {"code": [501, None, None], "part": [1, None, 3], "flag": [False, True, None]}
        told = {each.column: each for each in table.warnings if each.kind is WarningKind.CELLS_MISFIT}
        assert told["code"].message == (
            "column 'code': 1 of 2 cells are not integers and were taken as missing, first at row 1: 'x'"
        )
        assert {each: told[each].count for each in told} == {"code": 1, "part": 1, "flag": 1}
        assert table.format.column_types == choices


def test_a_type_that_values_of_parquet_can_not_become_is_refused(converted: Convert, tmp_path: Path) -> None:
    pd.DataFrame({"day": pd.to_datetime(["2024-01-31"])}).to_parquet(tmp_path / "in.parquet")
    wanted = FileFormat(column_types=(("day", ColumnType.FLOAT),))
    error = refusal(lambda: converted((tmp_path / "in.parquet").read_bytes(), "in.parquet", wanted))
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == ["format.column_types[0].type"]
