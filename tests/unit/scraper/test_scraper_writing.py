"""Rows on their way into a table: in any batches, within limits, and in bounded memory."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper_server.limits import TableLimits
from scraper_server.tables import writing
from scraper_server.tables.digests import TableDigest
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.reader import BytesDone, Misread
from scraper_server.tables.schema import Column, ColumnType
from scraper_server.tables.writing import regrouped, write_rows
from servicekit.errors import Reason, ResourceExhausted
from servicekit.images.shape import ImageMode, ImageShape

SHAPE = ImageShape(1, 2, ImageMode.GRAYSCALE)
COLUMNS = (
    Column("n", ColumnType.INTEGER),
    Column("x", ColumnType.FLOAT),
    Column("flag", ColumnType.BOOLEAN),
    Column("day", ColumnType.DATETIME),
    Column("text", ColumnType.TEXT),
    Column("image", ColumnType.IMAGE, image=SHAPE),
)
CELLS = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(tzinfo=UTC)),  # noqa: DTZ001
    st.none() | st.text(max_size=5),
    st.none() | st.binary(min_size=2, max_size=2),
)


def table_of(rows: Sequence[tuple[object, ...]]) -> pa.RecordBatch:
    arrays = [pa.array([row[at] for row in rows], column.arrow_type) for at, column in enumerate(COLUMNS)]
    return pa.record_batch(arrays, names=[column.name for column in COLUMNS])


def digest_of(table: pa.RecordBatch, size: int) -> str:
    digest = TableDigest(len(COLUMNS))
    for start in range(0, len(table), size):
        digest.add(table.slice(start, size))
    return digest.hexdigest(COLUMNS)


class Rows:
    """A reader of integers that has them already; misread the first so many times."""

    columns = (Column("n", ColumnType.INTEGER),)
    warnings = ()
    format = FileFormat()

    def __init__(self, *sizes: int, misread: int = 0) -> None:
        self.sizes = sizes
        self.misread = misread
        self.closed = 0

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        try:
            for at, size in enumerate(self.sizes):
                if self.misread and at == 1:
                    self.misread -= 1
                    raise Misread
                yield pa.record_batch([pa.array(range(size), pa.int64())], names=["n"])
        finally:
            self.closed += 1


@given(st.lists(CELLS, min_size=1, max_size=12), st.integers(1, 12))
def test_a_digest_does_not_depend_on_where_batches_end(rows: list[tuple[object, ...]], size: int) -> None:
    table = table_of(rows)
    assert digest_of(table, len(rows)) == digest_of(table, size)


@given(st.lists(CELLS, min_size=1, max_size=6), st.lists(CELLS, min_size=1, max_size=6))
def test_digests_are_equal_for_equal_tables_alone(
    rows: list[tuple[object, ...]], others: list[tuple[object, ...]]
) -> None:
    assert (digest_of(table_of(rows), 3) == digest_of(table_of(others), 3)) == (rows == others)


def test_strings_next_to_each_other_are_told_apart() -> None:
    first, second = ([(None, None, None, None, text, None) for text in texts] for texts in (("ab", "c"), ("a", "bc")))
    assert digest_of(table_of(first), 9) != digest_of(table_of(second), 9)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=8))
def test_groups_have_all_rows_in_order_and_are_bounded(sizes: list[int]) -> None:
    ends = [sum(sizes[:at]) for at in range(len(sizes) + 1)]
    batches = [
        pa.record_batch([pa.array(range(start, start + size), pa.int64())], names=["n"])
        for start, size in zip(ends, sizes, strict=False)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "GROUP_ROWS", 25)
        patch.setattr(writing, "GROUP_BYTES", 160)
        groups = list(regrouped(iter(batches)))
    assert [value for group in groups for value in group.column(0).to_pylist()] == list(range(sum(sizes)))
    assert all(0 < len(group) <= 21 for group in groups)
    assert all(len(group) >= 19 for group in groups[:-1])


def test_too_many_rows_end_the_reading_at_once(tmp_path: Path) -> None:
    rows = Rows(*[70_000] * 50)
    with pytest.raises(ResourceExhausted, match="FLARE_SCRAPER_MAX_ROWS") as caught:
        write_rows(rows, "long.csv", TableLimits(max_rows=100_000), tmp_path / "t.parquet", lambda _: None)
    assert caught.value.reason is Reason.TOO_MANY_ROWS
    assert rows.closed == 1


def test_rows_that_were_misread_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    again, once = Rows(5, 70_000, misread=2), Rows(5, 70_000)
    misread = write_rows(again, "t.csv", TableLimits(), path, lambda _: None)
    assert (misread.row_count, pq.read_metadata(path).num_rows) == (70_005, 70_005)
    plain = write_rows(once, "t.csv", TableLimits(), path, lambda _: None)
    assert misread.digest.hexdigest(once.columns) == plain.digest.hexdigest(once.columns)
    known = [each.profile.described(once.columns, lambda _: None) for each in (misread, plain)]
    assert known[0] == known[1]
    assert again.closed == 3
