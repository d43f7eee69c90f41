"""Rows from files: each once an epoch, in an order that mixes them well, taken up anywhere, in little memory."""

import itertools
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ml_server.features.columns import ColumnType
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.training import streamed_rows
from ml_server.training.block_order import BUFFER_BLOCKS, BlockOrder
from ml_server.training.rows import Rows
from ml_server.training.stored_rows import RowsWriter, StoredRows
from ml_server.training.streamed_rows import StreamedRows
from ml_server.views.values import Part

TARGETS = FittedTargets(
    targets=(
        FittedTarget(name="a", type=ColumnType.FLOAT, task=Task.REGRESSION),
        FittedTarget(name="b", type=ColumnType.BOOLEAN, task=Task.BINARY_CLASSIFICATION, classes=("n", "y")),
    )
)
WIDTH = 3
ROW_BYTES = 3 * 4 + 4 + 8 + 4


def stored(directory: Path, rows: int, is_weighted: bool = True) -> StoredRows:
    """Row i is i in all of its arrays."""
    made = StoredRows.of(directory, Part.TRAIN, rows, WIDTH, TARGETS, is_weighted=is_weighted)
    numbers = np.arange(rows)
    floats = numbers.astype(np.float32)
    with RowsWriter(made) as writer:
        for part in np.array_split(numbers, 3):
            arrays: list[np.typing.NDArray[Any]] = [np.repeat(floats[part], WIDTH), floats[part], part, floats[part]]
            writer.write(arrays if is_weighted else arrays[:3])
    return made


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> StoredRows:
    return stored(tmp_path_factory.mktemp("rows"), 1000)


def numbers_of(batch: Rows) -> list[int]:
    """Which rows a batch has, all of whose arrays must tell the same."""
    first, second = batch.targets
    assert batch.weights is not None
    assert batch.features.dtype == first.dtype == batch.weights.dtype == torch.float32
    assert batch.features.shape == (len(batch), WIDTH)
    assert torch.equal(batch.features, first[:, None].expand(-1, WIDTH))
    assert torch.equal(batch.weights, first)
    assert torch.equal(second, first.long())
    return second.tolist()


def shuffled(rows: StreamedRows, size: int, seed: int = 1, skipped: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [numbers_of(batch) for batch in rows.shuffled_batches(size, generator, skipped)]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


@settings(deadline=None, max_examples=25)
@given(st.integers(300, 60_000), st.integers(1, 1100), st.integers(0, 3))
def test_each_row_comes_once_in_full_batches(thousand: StoredRows, budget: int, size: int, seed: int) -> None:
    batches = shuffled(StreamedRows(thousand, budget), size, seed)
    assert {len(batch) for batch in batches[:-1]} <= {size}
    left_out = 1000 % size == 1 and size > 1
    assert len(set(flat(batches))) == len(flat(batches)) == 1000 - left_out


@settings(deadline=None, max_examples=25)
@given(st.integers(300, 60_000), st.integers(1, 300), st.integers(0, 40))
def test_an_epoch_goes_on_after_any_batch(thousand: StoredRows, budget: int, size: int, skipped: int) -> None:
    rows = StreamedRows(thousand, budget)
    assert shuffled(rows, size, skipped=skipped) == shuffled(rows, size)[skipped:]


def test_the_generator_is_left_alike_whatever_was_skipped(thousand: StoredRows) -> None:
    states = []
    for skipped in (0, 7):
        generator = torch.Generator().manual_seed(3)
        list(StreamedRows(thousand, 10_000).shuffled_batches(64, generator, skipped))
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_epochs_differ_and_seeds_decide(thousand: StoredRows) -> None:
    rows, generator = StreamedRows(thousand, 10_000), torch.Generator().manual_seed(1)
    epochs = [[numbers_of(batch) for batch in rows.shuffled_batches(50, generator)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert epochs[0] == shuffled(rows, 50, seed=1)
    assert epochs[0] != shuffled(rows, 50, seed=2)


@settings(deadline=None, max_examples=25)
@given(st.integers(300, 60_000), st.integers(1, 1100))
def test_rows_in_order_come_in_order(thousand: StoredRows, budget: int, size: int) -> None:
    batches = [numbers_of(batch) for batch in StreamedRows(thousand, budget).batches(size)]
    assert flat(batches) == list(range(1000))
    assert {len(batch) for batch in batches[:-1]} <= {size}


def test_a_part_without_rows_has_no_batches(tmp_path: Path) -> None:
    rows = StreamedRows(stored(tmp_path, 0), 1000)
    assert (len(rows), list(rows.batches(5))) == (0, [])
    assert [len(target) for target in rows.targets] == [0, 0]


def test_every_buffer_is_a_fair_sample_of_a_sorted_table() -> None:
    """A buffer of 256 blocks has a class of half of the rows in its half, but for chance."""
    rows, buffer = 1_000_000, 40_000
    order = BlockOrder.draw(rows, 128, buffer, torch.Generator().manual_seed(1))
    assert order.groups == rows // buffer + 1
    shares = []
    for group in range(order.groups):
        blocks = order.blocks_of(group)
        assert len(blocks) > BUFFER_BLOCKS // 2
        shares.append(sum(end - start for start, end in blocks if end <= rows // 2) / order.rows_of(group))
    assert np.std(shares) < 2 * 0.5 / BUFFER_BLOCKS**0.5
    assert max(order.rows_of(group) for group in range(order.groups)) <= buffer
    assert max(abs(share - 0.5) for share in shares) < 0.15


def test_the_budget_bounds_the_rows_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2.8 MB of rows, two buffers, a piece and the places of its rows are in memory."""
    made, budget = stored(tmp_path, 100_000), 200_000
    buffers, pieces = list[int](), list[int]()
    memory, at = streamed_rows._memory, Rows.at

    def counted(size: int) -> np.typing.NDArray[np.uint8]:
        buffers.append(size)
        return memory(size)

    def taken(rows: Rows, part: slice | Tensor) -> Rows:
        found = at(rows, part)
        if isinstance(part, Tensor):
            pieces.append(len(found) * ROW_BYTES)
        return found

    monkeypatch.setattr(streamed_rows, "_memory", counted)
    monkeypatch.setattr(Rows, "at", taken)
    assert len(flat(shuffled(StreamedRows(made, budget), 64))) == 100_000
    places = max(buffers) * 8 // (WIDTH * 4)
    assert budget / 2 < sum(buffers) + max(pieces) + places <= budget
    buffers.clear()
    assert sum(len(batch) for batch in StreamedRows(made, budget).batches(64)) == 100_000
    assert sum(buffers) <= budget


def test_an_epoch_left_in_its_middle_leaves_no_thread(thousand: StoredRows) -> None:
    before = threading.active_count()
    batches = StreamedRows(thousand, 5_000).shuffled_batches(10, torch.Generator())
    next(batches)
    assert isinstance(batches, Generator)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before


def test_a_file_that_is_too_short_is_an_error(tmp_path: Path) -> None:
    made = stored(tmp_path, 100)
    with made.features.path.open("r+b") as file:
        file.truncate(50 * WIDTH * 4)
    with pytest.raises(OSError, match="ends at byte"):
        list(StreamedRows(made, 1000).batches(10))
