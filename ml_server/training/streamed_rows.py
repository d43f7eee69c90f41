"""Rows that are more than memory: read from their files some at a time, ahead of who takes them."""

import mmap
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_server.training.block_order import BlockOrder
from ml_server.training.rows import GATHERED_FEATURES, GATHERED_ROWS, Rows
from ml_server.training.stored_rows import StoredRows

Spans = list[tuple[int, int]]
"""First and last rows (not included) of pieces of a file."""

INDEX_BYTES = 8
# Rows in order need no large buffers: so much is read at a time while the rows before are worked on.
IN_ORDER_BYTES = 16 << 20
CPU = torch.device("cpu")


@dataclass(frozen=True)
class StreamedRows:
    """The rows of files as batches on a device, with no more than `buffer_bytes` of them in memory.

    Batches come as those of Rows; only the order of shuffled ones is another, see BlockOrder. A batch of `batches` is
    gone when the next but one comes.
    """

    stored: StoredRows
    buffer_bytes: int
    device: torch.device = CPU

    def __len__(self) -> int:
        return self.stored.rows

    @property
    def width(self) -> int:
        """Features of a row."""
        return self.stored.features.width or 0

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """As those of Rows. On the CPU the files' pages are their memory, which the system lets go as it needs."""
        return tuple(array.mapped(len(self), populated=False).to(self.device) for array in self.stored.targets)

    @property
    def weights(self) -> Tensor | None:
        """As those of Rows, in memory as `targets` are."""
        stored = self.stored.weights
        return stored.mapped(len(self), populated=False).to(self.device) if stored else None

    def to(self, device: torch.device) -> "StreamedRows":
        """The same rows, whose batches are on a device."""
        return replace(self, device=device)

    def batches(self, size: int) -> Iterator[Rows]:
        """As RowSource says."""
        most = min(self._buffer_rows, IN_ORDER_BYTES // max(self.stored.row_bytes, 1))
        step = max(size, most // size * size)
        spans = [[(start, min(start + step, len(self)))] for start in range(0, len(self), step)]
        for rows in self._read(spans, min(step, len(self))):
            for batch in rows.batches(size):
                yield batch.to(self.device)

    def shuffled_batches(self, size: int, generator: torch.Generator, skipped: int = 0) -> Iterator[Rows]:
        """As RowSource says."""
        order = BlockOrder.draw(len(self), self.stored.row_bytes, self._buffer_rows, generator)
        most = min(GATHERED_ROWS, GATHERED_FEATURES // max(self.width, 1), self._buffer_rows // 4)
        gathered = max(size, most // size * size)
        first = order.group_at(skipped * size)
        begun = skipped * size - order.first_rows[first]
        buffers = self._read([order.blocks_of(group) for group in range(first, order.groups)], order.most_rows)
        rest: Rows | None = None
        for group, rows in enumerate(buffers, first):
            places = order.shuffled(group)[begun:]
            begun = 0
            taken = 0
            while taken < len(places):
                wanted = gathered - (0 if rest is None else len(rest))
                piece = rows.at(places[taken : taken + wanted])
                taken += wanted
                rest = Rows.joined([rest, piece]) if rest is not None and len(rest) else piece
                whole = len(rest) // size * size
                yield from rest.at(slice(whole)).to(self.device).batches(size)
                rest = rest.at(slice(whole, None))
        if rest is not None and len(rest) and (len(rest) > 1 or len(self) == 1 or size == 1):
            yield rest.to(self.device)

    @property
    def _buffer_rows(self) -> int:
        """Rows of one buffer: there are two, then the piece that batches are cut from, and the places of its rows."""
        return max(1, self.buffer_bytes * 2 // 5 // (self.stored.row_bytes + INDEX_BYTES))

    def _read(self, spans: list[Spans], most_rows: int) -> Iterator[Rows]:
        """The rows of each of the spans, in a buffer that the next but one overwrites."""
        with ExitStack() as opened:
            files = [opened.enter_context(array.path.open("rb", buffering=0)) for array in self.stored.arrays]
            for file in files:
                if hasattr(os, "posix_fadvise"):  # what lies behind a block is not wanted
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            reading = _Reading([file.fileno() for file in files], self.stored, most_rows)
            reader = opened.enter_context(ThreadPoolExecutor(1, "rows"))
            opened.callback(reading.stop)  # before the reader is waited for
            ahead = reader.submit(reading.read, spans[0], 0) if spans else None
            for number in range(1, len(spans) + 1):
                assert ahead is not None
                rows = ahead.result()
                if number < len(spans):
                    ahead = reader.submit(reading.read, spans[number], number % 2)
                yield rows


class _Reading:
    """Reads rows into two buffers in turn."""

    def __init__(self, files: list[int], stored: StoredRows, most_rows: int) -> None:
        self._files = files
        self._stored = stored
        self._buffers = [[_memory(array.row_bytes * most_rows) for array in stored.arrays] for _ in range(2)]
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends a read that nobody waits for any more."""
        self._stopped.set()

    def read(self, spans: Spans, buffer: int) -> Rows:
        """The rows of the spans, side by side."""
        rows = sum(end - start for start, end in spans)
        tensors = []
        for file, array, memory in zip(self._files, self._stored.arrays, self._buffers[buffer], strict=True):
            size, place = array.row_bytes, 0
            for start, end in spans:
                if self._stopped.is_set():
                    break
                piece = memory[place : place + (end - start) * size]
                _read_at(file, piece, start * size)
                place += len(piece)
            values = torch.from_numpy(memory[: rows * size]).view(array.dtype)
            tensors.append(values.reshape(array.shape(rows)))
        return self._stored.rows_of(tensors)


def _memory(size: int) -> NDArray[np.uint8]:
    """Bytes that the system has back as soon as nobody uses them, which an allocator's it might not."""
    pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype=np.uint8)


def _read_at(file: int, piece: NDArray[Any], offset: int) -> None:
    done = 0
    while done < len(piece):
        count = os.preadv(file, [piece[done:].data], offset + done)
        if not count:
            raise OSError(f"a file of prepared rows ends at byte {offset + done}")
        done += count
