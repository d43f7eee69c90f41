"""Laws of delimited text: what is written is read back, and the quick way gives what the careful one would."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scraper_server.limits import TableLimits
from scraper_server.tables import typed_columns
from scraper_server.tables.cells import MISSING_MARKS, cleaned
from scraper_server.tables.deciding import decided, evidence_of
from scraper_server.tables.delimited import DelimitedFile
from scraper_server.tables.dialects import Dialect
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.inference import READINGS, StringKind
from scraper_server.tables.reader import Misread
from scraper_server.tables.readings import STRING, Family, Reading
from scraper_server.tables.schema import ColumnType

LAWFUL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# Cells that are nearly something else, from which any bug in telling types apart is a few steps away.
NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-20, 20).map(str),
    st.floats(allow_nan=False).map(repr),
    st.decimals(-2000, 2000, places=3).map(str),
    st.from_regex(r"\A[+-]?[0-9]{1,3}([,. '][0-9]{3}){0,2}([.,][0-9]{1,3})?\Z"),
    st.from_regex(r"\A[+-]?0?[0-9xXe.]{1,4}\Z"),
    st.sampled_from(["inf", "-Infinity", "NAN", "1e999", "9223372036854775807", "9223372036854775808", "-0", "+5"]),
)
TIMES = st.one_of(
    st.datetimes().map(str),
    st.dates().map(str),
    st.from_regex(r"\A[0-9]{1,2}[/.-][0-9]{1,2}[/.-](20)?[0-9]{2}( [0-9]{2}:[0-9]{2})?\Z"),
    st.from_regex(
        r"\A20[0-9]{2}-[01][0-9]-[0-3][0-9]"
        r"([ T][0-2][0-9](:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?)?)?(Z|[+-]0[0-9](:?30)?)?\Z"
    ),
    st.sampled_from(["31-Jan-2024", "Jan 31, 2024", "0000-01-01", "2024-02-30", "2024-01-31T24:00"]),
)
OTHERS = st.one_of(
    st.sampled_from([*MISSING_MARKS, "true", "FALSE", " 5 ", " NA ", "x", "unknown"]), st.text(max_size=6)
)
CELLS = st.one_of(NUMBERS, TIMES, OTHERS).filter(lambda cell: "\x00" not in cell)


def columns_of(kinds: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Cells of one column, most of them alike."""
    alike = st.lists(kinds, min_size=1, max_size=3).flatmap(lambda few: st.lists(st.sampled_from(few), max_size=30))
    return st.tuples(alike, st.lists(CELLS, max_size=2)).map(lambda parts: parts[0] + parts[1])


@pytest.mark.parametrize("reading", [each for each in READINGS if each.quick(pa.array([], pa.string())) is not None])
@given(cells=st.one_of(columns_of(NUMBERS), columns_of(TIMES)))
@settings(max_examples=200, deadline=None)
def test_what_is_read_quickly_is_what_is_read_with_care(reading: Reading, cells: list[str]) -> None:
    strings = cleaned(pa.array(cells, pa.string()))
    quick = reading.quick(strings)
    if quick is not None:
        careful = reading.careful(strings)
        assert careful.fit
        assert quick.equals(careful.values)


@pytest.mark.parametrize("reading", READINGS, ids=lambda each: each.name)
@given(cells=columns_of(CELLS))
@settings(max_examples=40, deadline=None)
def test_each_cell_is_read_as_if_it_were_alone(reading: Reading, cells: list[str]) -> None:
    strings = cleaned(pa.array(cells, pa.string()))
    together = reading.read(strings)
    alone = [reading.read(strings.slice(at, 1)) for at in range(len(cells))]
    assert together.misfits.tolist() == [bool(each.misfits[0]) for each in alone]
    assert together.values.to_pylist() == [each.values[0].as_py() for each in alone]


def with_care(columns: list[list[str]], usual: Family) -> list[tuple[ColumnType, list[Any]]]:
    """Every cell by every reading."""
    strings = [cleaned(pa.array(cells, pa.string())) for cells in columns]
    fitting = [
        tuple(each for each in READINGS if each.careful(cells).fit) if cells.null_count < len(cells) else ()
        for cells in strings
    ]
    evidence = evidence_of(fitting)
    found = []
    for cells, fits in zip(strings, fitting, strict=True):
        reading = decided(fits, evidence, usual).reading
        kind = StringKind()
        kind.see(cells)
        found.append((kind.type if reading is STRING else reading.type, reading.careful(cells).values.to_pylist()))
    return found


def read(path: Path, wanted: FileFormat) -> tuple[DelimitedFile, list[list[Any]]]:
    file = DelimitedFile(path, wanted, "table.csv", TableLimits())
    for _ in range(10):
        try:
            batches = list(file.batches(lambda _: None))
        except Misread:
            continue
        return file, [pa.chunked_array([b.column(at) for b in batches]).to_pylist() for at in range(len(file.columns))]
    raise AssertionError("never settles")


@given(
    rows=st.integers(1, 40).flatmap(
        lambda count: st.lists(
            columns_of(CELLS).map(lambda cells: (cells * 40 or ["x"] * 40)[:count]), min_size=1, max_size=4
        )
    ),
    sample_rows=st.integers(1, 5),
    block_bytes=st.sampled_from([40, 200, 4 << 20]),
)
@LAWFUL
def test_a_file_is_read_as_if_every_reading_had_seen_every_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[list[str]], sample_rows: int, block_bytes: int
) -> None:
    monkeypatch.setattr(typed_columns, "SAMPLE_ROWS", sample_rows)
    monkeypatch.setattr("scraper_server.tables.delimited.BLOCK_BYTES", block_bytes)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_ALL)
    writer.writerows([[f"name {at}" for at in range(len(rows))], *zip(*rows, strict=True)])
    (tmp_path / "table").write_text(text.getvalue(), newline="", encoding="utf-8", errors="replace")
    expected = with_care(
        [[cell.encode("utf-8", "replace").decode() for cell in column] for column in rows], Family.POINT
    )
    file, values = read(tmp_path / "table", FileFormat(delimiter="\t", quote='"', encoding="utf-8"))
    assert [column.type for column in file.columns] == [kind for kind, _ in expected]
    np.testing.assert_equal(values, [cells for _, cells in expected])


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F), max_size=12)
WORDS = st.one_of(TEXTS, st.text(st.sampled_from("ab,;|\t\"'\n #"), max_size=8)).map(
    lambda cell: "" if cell.strip() in MISSING_MARKS else f"<{cell}>"
)


@given(
    rows=st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(WORDS, min_size=width, max_size=width), min_size=1, max_size=30)
    ),
    delimiter=st.sampled_from(",;\t|:~ "),
    quote=st.sampled_from("\"'"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
    block_bytes=st.sampled_from([32, 150, 4 << 20]),
)
@LAWFUL
def test_what_is_written_in_any_dialect_is_read_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[list[str]],
    delimiter: str,
    quote: str,
    quoting: Any,
    line_end: str,
    encoding: str,
    block_bytes: int,
) -> None:
    monkeypatch.setattr("scraper_server.tables.delimited.BLOCK_BYTES", block_bytes)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=line_end)
    writer.writerows([[f"column {at}" for at in range(len(rows[0]))], *rows])
    (tmp_path / "table").write_text(text.getvalue(), newline="", encoding=encoding)
    _, values = read(tmp_path / "table", FileFormat(delimiter=delimiter, quote=quote, encoding=encoding))
    written = [[cell or None for cell in row] for row in rows]
    assert [list(row) for row in zip(*values, strict=True)] == written


PIECES = st.text(st.sampled_from('a,"\n\r#'), max_size=40)


@given(text=PIECES)
@settings(max_examples=500, deadline=None)
def test_the_last_row_ends_where_the_careful_look_says(text: str) -> None:
    dialect = Dialect(",")
    content = text.encode()
    ends = [end for end, _ in dialect.row_ends(content)]
    found = dialect.last_row_end(content)
    assert found in (0, *ends)
    if "\r" not in text:
        assert found == (ends[-1] if ends else 0)
