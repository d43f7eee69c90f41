"""Batches are small, whole, and the same however their rows arrived."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper_server.tables.schema import Column, ColumnType, arrow_schema
from scraper_server.views.batches import BATCH_BYTES, BATCH_ROWS, BatchWriter, EncodedBatch, PartFile, PartStream
from scraper_server.views.layouts import LayoutKind, layout_of
from servicekit.errors import OutOfRange, Reason

ROW_COUNT = 30_000


def rows_of(count: int) -> pa.RecordBatch:
    random = np.random.default_rng(3)
    text = ["x" * int(length) for length in random.integers(0, 200, count)]
    schema = arrow_schema(
        (Column("n", ColumnType.FLOAT), Column("flag", ColumnType.BOOLEAN), Column("text", ColumnType.TEXT))
    )
    arrays: list[Any] = [pa.array(random.normal(size=count)), pa.array(random.random(count) < 0.5), pa.array(text)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


async def encoded(file: PartFile, start: int = 0) -> list[EncodedBatch]:
    stream = PartStream(file, layout_of(LayoutKind.COLUMNS, (), file.schema))
    return [batch async for batch in stream.encoded(start)]


def written(path: Path, rows: pa.RecordBatch, cuts: list[int]) -> PartFile:
    with BatchWriter(path, rows.schema) as writer:
        for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            writer.add(rows.slice(start, end - start))
    return PartFile(path)


@pytest.fixture(scope="module")
def rows() -> pa.RecordBatch:
    return rows_of(ROW_COUNT)


async def test_batches_hold_all_rows_in_order_within_the_limit(rows: pa.RecordBatch, tmp_path: Path) -> None:
    file = written(tmp_path / "a", rows, [1000, 1000, 20_000])
    batches = await encoded(file)
    assert [batch.index for batch in batches] == list(range(file.batch_count))
    sizes = [len(batch.message) for batch in batches]
    assert max(sizes) <= BATCH_BYTES
    assert min(sizes[:-1]) > 0.9 * BATCH_BYTES  # and not much smaller either
    read = [pa.ipc.read_record_batch(pa.py_buffer(batch.message), rows.schema) for batch in batches]
    assert [len(each) for each in read] == [batch.row_count for batch in batches]
    assert pa.Table.from_batches(read).equals(pa.Table.from_batches([rows]))


@given(cuts=st.lists(st.integers(0, ROW_COUNT), max_size=6))
@settings(max_examples=10, deadline=None)
def test_how_rows_arrive_does_not_change_the_batches(
    rows: pa.RecordBatch, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("batches")
    whole = written(folder / "whole", rows, [])
    pieces = written(folder / "pieces", rows, sorted(cuts))
    assert pieces.batch_count == whole.batch_count
    for number in range(whole.batch_count):
        assert pieces.batch(number).equals(whole.batch(number))


async def test_a_stream_goes_on_at_any_batch(rows: pa.RecordBatch, tmp_path: Path) -> None:
    file = written(tmp_path / "a", rows, [])
    everything = await encoded(file)
    for start in range(file.batch_count + 1):
        assert await encoded(file, start) == everything[start:]


async def test_a_batch_beyond_the_last_is_out_of_range(rows: pa.RecordBatch, tmp_path: Path) -> None:
    file = written(tmp_path / "a", rows, [])
    with pytest.raises(OutOfRange) as caught:
        await encoded(file, file.batch_count + 1)
    assert caught.value.reason is Reason.INVALID_FIELD


def test_a_row_that_is_larger_than_a_batch_is_one(tmp_path: Path) -> None:
    schema = arrow_schema((Column("text", ColumnType.TEXT),))
    rows = pa.RecordBatch.from_arrays([pa.array(["small", "x" * (2 * BATCH_BYTES), "small"])], schema=schema)
    file = written(tmp_path / "a", rows, [])
    assert [len(file.batch(number)) for number in range(file.batch_count)] == [1, 1, 1]


def test_narrow_rows_are_cut_by_their_number(tmp_path: Path) -> None:
    schema = arrow_schema((Column("flag", ColumnType.BOOLEAN),))
    rows = pa.RecordBatch.from_arrays([pa.array(np.ones(BATCH_ROWS + 1, np.bool_))], schema=schema)
    file = written(tmp_path / "a", rows, [])
    assert [len(file.batch(number)) for number in range(file.batch_count)] == [BATCH_ROWS, 1]


async def test_a_part_without_rows_has_no_batches(tmp_path: Path) -> None:
    file = written(tmp_path / "a", rows_of(0), [])
    assert file.batch_count == 0
    assert await encoded(file) == []
