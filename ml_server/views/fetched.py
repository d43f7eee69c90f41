"""Rows of views on this machine: fetched once, an Arrow file for each part, in a folder named by the view's digest."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BufferedWriter
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import stamina
from pyarrow import ipc

from ml_server.views.values import Part, View
from servicekit.errors import Unavailable
from servicekit.files import staging_directory

Progress = Callable[[int, bool], Awaitable[None]]


class BatchSource(Protocol):
    """Streams the rows of a part of a view, from any batch on."""

    def batches(self, owner: str, view: View, part: Part, start_batch: int) -> AsyncIterator[tuple[int, bytes, int]]:
        """Yields (-1, Arrow schema, 0), then (index, Arrow batch, rows) for each batch from `start_batch` on."""
        ...


class FetchedViews:
    """The folder of fetched views. Jobs on the same view share its files."""

    def __init__(self, root: Path, source: BatchSource) -> None:
        self._root = root
        self._source = source
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fetch(self, owner: str, view: View, progress: Progress) -> dict[Part, Path]:
        """The file of each part. `progress` is told rows so far, and whether they were here already.

        A cut stream goes on at the batch after the last one received.
        """
        directory = self._root / view.digest
        async with self._fetching[view.digest]:
            if directory.is_dir():
                await progress(view.total_rows, True)
            else:
                async with staging_directory(directory) as staging:
                    done = 0
                    for part in Part:
                        done = await self._fetch_part(owner, view, part, staging / f"{part}.arrow", done, progress)
        return {part: directory / f"{part}.arrow" for part in Part}

    async def _fetch_part(self, owner: str, view: View, part: Part, file: Path, done: int, progress: Progress) -> int:
        next_batch = 0
        with file.open("wb") as sink:
            writer = _PartWriter(sink)
            async for attempt in stamina.retry_context(on=Unavailable, attempts=10, timeout=120, wait_max=10):
                with attempt:
                    async for index, message, rows in self._source.batches(owner, view, part, next_batch):
                        await asyncio.to_thread(writer.write, message)
                        if index >= 0:
                            next_batch = index + 1
                            done += rows
                            await progress(done, False)
            writer.close()
        return done


class _PartWriter:
    """Turns the messages of a stream into an Arrow file, which can be mapped into memory."""

    def __init__(self, sink: BufferedWriter) -> None:
        self._sink = sink
        self._writer: ipc.RecordBatchFileWriter | None = None
        self._schema: pa.Schema | None = None

    def write(self, message: bytes) -> None:
        """Takes the schema, once, or again after a cut; then batches."""
        parsed = ipc.read_message(message)
        if parsed.type == "schema":
            if self._writer is None:
                self._schema = ipc.read_schema(parsed)
                self._writer = ipc.new_file(self._sink, self._schema)
            return
        assert self._writer is not None
        assert self._schema is not None
        self._writer.write_batch(ipc.read_record_batch(parsed, self._schema))

    def close(self) -> None:
        """Writes the file's footer."""
        if self._writer is not None:
            self._writer.close()
