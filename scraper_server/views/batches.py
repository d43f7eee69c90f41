"""The rows of a view's part as an Arrow file whose batches are those that are streamed.

Such a file is written and read several times as fast as Parquet, above all with thousands of columns, and each of its
batches is found at once. It is not compressed: numbers hardly shrink, and a batch is then sent as it lies, where
unpacking it would take most of the time of a stream.

Where the batches end hangs on the rows alone, so a stream that was cut goes on at any batch, exactly.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, concatenated, kernels
from scraper_server.views.layouts import Layout
from servicekit.errors import OutOfRange, Reason

# What a batch may take as an Arrow IPC message in any layout, and what its head takes of it for each column. Smaller
# ones cost more calls for the same rows; larger ones fall out of the processor's cache.
BATCH_BYTES = 1 << 20
COLUMN_HEAD_BYTES = 128
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class EncodedBatch:
    """A batch as an Arrow IPC message (encapsulated, without dictionaries)."""

    index: int
    row_count: int
    message: pa.Buffer


class BatchWriter(AbstractContextManager["BatchWriter"]):
    """Cuts rows into batches of at most BATCH_BYTES, but at least a row, and writes each."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Creates the file."""
        self._schema = schema
        self._writer = pa.ipc.new_file(str(path), schema)
        self._waiting: list[pa.RecordBatch] = []
        self._budget = max(BATCH_BYTES - COLUMN_HEAD_BYTES * len(schema), BATCH_BYTES // 2)

    def add(self, rows: pa.RecordBatch) -> None:
        """Takes the next rows."""
        waiting = concatenated([*self._waiting, rows])
        ends = np.cumsum(_row_bytes(waiting))
        start = 0
        while start < len(waiting):
            spent = ends[start - 1] if start else 0.0
            fitting = int(np.searchsorted(ends, spent + self._budget, side="right"))
            end = min(max(fitting, start + 1), start + BATCH_ROWS)
            if end >= len(waiting):  # more may fit
                break
            self._writer.write_batch(waiting.slice(start, end - start))
            start = end
        self._waiting = [waiting.slice(start)] if start < len(waiting) else []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes what waits, and the footer."""
        if kind is None:
            for rows in self._waiting:
                self._writer.write_batch(rows)
        self._writer.close()


class PartFile:
    """The batches of a part, by number. Closed when nobody refers to it; can be read on after it was deleted."""

    def __init__(self, path: Path) -> None:
        """Reads the footer."""
        # Read rather than mapped: the memory of this process does not grow with what it has sent, and a disk that
        # fails is an error instead of the end of the process.
        self._file = pa.ipc.open_file(pa.OSFile(str(path), mode="r"))
        self.schema: pa.Schema = self._file.schema
        self.batch_count: int = self._file.num_record_batches

    def batch(self, number: int) -> pa.RecordBatch:
        """The batch of a number from 0."""
        return self._file.get_batch(number)


@dataclass(frozen=True)
class PartStream:
    """The batches of a part on their way out."""

    file: PartFile
    layout: Layout

    def encoded(self, start: int) -> AsyncGenerator[EncodedBatch, None]:
        """The batches from a number on, as Arrow IPC messages. One is read ahead, in a thread.

        Raises:
            OutOfRange: INVALID_FIELD, at once, if `start` is larger than the number of batches.
        """
        count = self.file.batch_count
        if start > count:
            message = f"start_batch {start} lies beyond the {count} batches of this part"
            raise OutOfRange(Reason.INVALID_FIELD, message, field="start_batch")
        return self._from(start)

    async def _from(self, start: int) -> AsyncGenerator[EncodedBatch, None]:
        ahead: asyncio.Task[EncodedBatch] | None = None
        try:
            for number in range(start, self.file.batch_count):
                batch = await (ahead or self._reading(number))
                ahead = self._reading(number + 1) if number + 1 < self.file.batch_count else None
                yield batch
        finally:
            if ahead is not None:
                ahead.cancel()

    def _reading(self, number: int) -> "asyncio.Task[EncodedBatch]":
        return asyncio.create_task(asyncio.to_thread(self._encoded, number))

    def _encoded(self, number: int) -> EncodedBatch:
        batch = self.layout.laid_out(self.file.batch(number))
        return EncodedBatch(number, len(batch), batch.serialize())


def _row_bytes(rows: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """What each row takes in an IPC message, at most."""
    total = np.zeros(len(rows))
    for array in rows.columns:
        total += 1 / 8 + _cell_bytes(array)
    return total


def _cell_bytes(array: Array) -> npt.NDArray[np.float64] | float:
    if pa.types.is_string(array.type):
        lengths: npt.NDArray[np.float64] = kernels.fill_null(kernels.binary_length(array), 0).to_numpy()
        return lengths + 4
    if pa.types.is_fixed_size_binary(array.type):
        return float(array.type.byte_width)
    return 8  # booleans too: as features they are float64
