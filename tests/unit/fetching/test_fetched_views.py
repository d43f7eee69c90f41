"""Rows of views are fetched whole, whatever happens to the stream, and read as they were sent."""

import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import stamina
from pyarrow import ipc

from ml_server.features.columns import Column, ColumnType, NumberColumn, TextColumn
from ml_server.features.fit import InputColumn
from ml_server.views import part_files
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache
from ml_server.views.part_files import PartFile
from ml_server.views.values import Part, PartHeader, RowBatch, View
from servicekit.errors import Internal, Reason, ResourceExhausted, Unavailable

BATCH_ROWS = 100
MATRIX = np.arange(3.0 * 1000).reshape(1000, 3)
MATRIX[7, 1] = np.nan
KINDS = [("red", "green", None)[at % 3] for at in range(1000)]
LIST = pa.list_(pa.field("item", pa.float64(), nullable=False), 3)
TYPES = {
    "b": ColumnType.FLOAT,
    "c": ColumnType.BOOLEAN,
    "a": ColumnType.INTEGER,
    "features": ColumnType.CATEGORICAL,
    "y": ColumnType.INTEGER,
}
ROWS = {Part.TRAIN: 1000, Part.VALIDATION: 250, Part.TEST: 0}
INPUTS = tuple(InputColumn(name, ColumnType.FLOAT) for name in "abc")
VIEW = View("datasets/d/views/v", "0" * 64, (), (), ROWS)


@pytest.fixture(autouse=True)
def _without_waiting() -> Any:
    with stamina.set_testing(True, attempts=10):
        yield


def rows_of(count: int, *, with_matrix: bool = True) -> pa.RecordBatch:
    """The first rows, as the layout FEATURES lays them out."""
    arrays: list[Any] = [pa.array(KINDS[:count], pa.string()), pa.array(np.arange(count))]
    fields: list[Any] = [pa.field("features", pa.string()), pa.field("y", pa.int64())]
    if with_matrix:
        lists: Any = pa.FixedSizeListArray
        arrays.insert(0, lists.from_arrays(pa.array(MATRIX[:count].reshape(-1)), type=LIST))
        fields.insert(0, pa.field("features", LIST, nullable=False))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


@dataclass
class Source:
    """Streams the rows; each cut ends a stream after so many batches."""

    cuts: list[int] = field(default_factory=list)
    with_matrix: bool = True
    lost: int = 0
    full_after: int | None = None
    asked: list[tuple[Part, int]] = field(default_factory=list)

    async def batches(
        self, owner: str, view: View, part: Part, start_batch: int
    ) -> AsyncIterator[PartHeader | RowBatch]:
        self.asked.append((part, start_batch))
        rows = rows_of(view.rows[part], with_matrix=self.with_matrix)
        names = ("a", "b", "c") if self.with_matrix else ()
        yield PartHeader(len(rows), rows.schema.serialize().to_pybytes(), names)
        left = self.cuts.pop(0) if self.cuts else None
        starts = range(0, len(rows) - self.lost, BATCH_ROWS)
        for index in range(start_batch, len(starts)):
            if left == 0:
                raise Unavailable(Reason.DEPENDENCY_UNAVAILABLE, "cut")
            if index == self.full_after:
                raise OSError(errno.ENOSPC, "No space left on device")
            left = None if left is None else left - 1
            batch = rows.slice(starts[index], BATCH_ROWS)
            yield RowBatch(index, len(batch), batch.serialize().to_pybytes())


def cache_in(directory: Path, budget_bytes: int = 10**9) -> FolderCache:
    return FolderCache(directory / "views", budget_bytes)


async def unheard(rows: int, cached: bool) -> None:
    pass


def numbers(column: Column) -> Any:
    assert isinstance(column, NumberColumn)
    return column.values


def texts(column: Column) -> list[str | None]:
    assert isinstance(column, TextColumn)
    return [column.values[code] if code >= 0 else None for code in column.codes]


def assert_whole(files: dict[Part, Path]) -> None:
    for part, count in ROWS.items():
        file = PartFile(files[part], TYPES)
        assert file.row_count == count
        chunks = list(file.chunks())
        assert all(list(rows) == list(TYPES) for rows in chunks)
        for at, name in enumerate("abc"):
            found = np.concatenate([np.empty(0), *(numbers(rows[name]) for rows in chunks)])
            np.testing.assert_array_equal(found, MATRIX[:count, at])
        assert [y for rows in chunks for y in numbers(rows["y"])] == list(range(count))
        assert [kind for rows in chunks for kind in texts(rows["features"])] == KINDS[:count]


@pytest.mark.parametrize("cuts", [[], [0], [3, 0, 1, 5], [9], [10]])
async def test_a_view_is_fetched_whole_through_any_cuts(tmp_path: Path, cuts: list[int]) -> None:
    source = Source(cuts=list(cuts))
    heard: list[tuple[int, bool]] = []

    async def progress(rows: int, cached: bool) -> None:
        heard.append((rows, cached))

    fetched = FetchedViews(cache_in(tmp_path), source)
    assert_whole((await fetched.fetch("accounts/ann", VIEW, progress)).files)
    assert heard == [(rows, False) for rows in [*range(100, 1001, 100), 1100, 1200, 1250]]
    starts = [start for part, start in source.asked if part is Part.TRAIN]
    assert starts == [sum(cuts[:at]) for at in range(len(starts))]
    asked = len(source.asked)
    assert_whole((await fetched.fetch("accounts/ann", VIEW, progress)).files)
    assert (heard[-1], len(source.asked)) == ((1250, True), asked)


@pytest.mark.parametrize(("most", "chunks"), [(1, 1000), (70, 15), (100, 10), (333, 4), (10_000, 1)])
async def test_rows_are_read_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, chunks: int
) -> None:
    monkeypatch.setattr(part_files, "CHUNK_ROWS", most)
    view = await FetchedViews(cache_in(tmp_path), Source()).fetch("accounts/ann", VIEW, unheard)
    assert_whole(view.files)
    counts = [len(rows["y"]) for rows in PartFile(view.files[Part.TRAIN], TYPES).chunks()]
    assert (len(counts), max(counts)) == (chunks, min(most, 1000))


async def test_a_view_without_numbers_has_no_matrix(tmp_path: Path) -> None:
    source = Source(with_matrix=False)
    view = await FetchedViews(cache_in(tmp_path), source).fetch("accounts/ann", VIEW, unheard)
    [columns] = PartFile(view.files[Part.TRAIN], {"y": ColumnType.INTEGER}).chunks()
    np.testing.assert_array_equal(numbers(columns["y"]), np.arange(1000))
    assert not list(view.files[Part.TRAIN].parent.glob("*.npy"))


async def test_rows_that_lack_are_an_error_and_nothing_is_kept(tmp_path: Path) -> None:
    source = Source(lost=BATCH_ROWS)
    with pytest.raises(Internal, match="the scraper service sent 900 of 1000 rows"):
        await FetchedViews(cache_in(tmp_path), source).fetch("accounts/ann", VIEW, unheard)
    assert list((tmp_path / "views").glob("*.*")) == [tmp_path / "views/.locks"]


def test_a_file_of_columns_alone_is_read(tmp_path: Path) -> None:
    table = pa.table({"y": [1, 2], "x": [0.5, None]})
    with ipc.new_file(str(tmp_path / "train.arrow"), table.schema) as writer:
        writer.write_table(table)
    [columns] = PartFile(tmp_path / "train.arrow", {"x": ColumnType.FLOAT, "y": ColumnType.INTEGER}).chunks()
    np.testing.assert_array_equal(numbers(columns["x"]), [0.5, np.nan])
    np.testing.assert_array_equal(numbers(columns["y"]), [1, 2])


def kept(directory: Path) -> list[str]:
    return sorted(each.name[0] for each in (directory / "views").iterdir() if each.name != ".locks")


async def test_views_leave_for_others_but_not_while_they_are_used(tmp_path: Path) -> None:
    fetched = FetchedViews(cache_in(tmp_path, 150_000), Source())  # a view has 50 kB and more
    first, second, third = (replace(VIEW, digest=letter * 64, inputs=INPUTS) for letter in "123")
    with await fetched.fetch("accounts/ann", first, unheard) as used:
        for view in (second, third):
            (await fetched.fetch("accounts/ann", view, unheard)).close()
        assert kept(tmp_path) == ["1", "3"]
        assert_whole(used.files)


async def test_a_view_larger_than_the_cache_may_be_is_refused(tmp_path: Path) -> None:
    source = Source()
    with pytest.raises(
        ResourceExhausted, match=r"view 'datasets/d/views/v' takes about 3e-05 GB .* may keep 2e-05 GB: take fewer rows"
    ) as caught:
        await FetchedViews(cache_in(tmp_path, 20_000), source).fetch(
            "accounts/ann", replace(VIEW, inputs=INPUTS), unheard
        )
    assert (caught.value.reason, source.asked) == (Reason.LIMIT_EXCEEDED, [])
    assert kept(tmp_path) == []


async def test_a_full_disk_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match=r"disk is full: nothing was kept; .*FLARE_ML_VIEW_CACHE_BYTES"):
        await FetchedViews(cache_in(tmp_path), Source(full_after=3)).fetch("accounts/ann", VIEW, unheard)
    assert kept(tmp_path) == []
