"""Rows of views on this machine: fetched once, files for each part, in a folder named by the view's digest."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import stamina

from ml_server.views.part_files import PartWriter
from ml_server.views.values import Part, PartHeader, RowBatch, View
from servicekit.errors import Unavailable
from servicekit.files import staging_directory

Progress = Callable[[int, bool], Awaitable[None]]


class BatchSource(Protocol):
    """Streams the rows of a part of a view, from any batch on."""

    def batches(self, owner: str, view: View, part: Part, start_batch: int) -> AsyncIterator[PartHeader | RowBatch]:
        """Yields the header, then each batch from `start_batch` on."""
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
        with PartWriter(file) as writer:
            async for attempt in stamina.retry_context(on=Unavailable, attempts=10, timeout=120, wait_max=10):
                with attempt:
                    async for received in self._source.batches(owner, view, part, next_batch):
                        if isinstance(received, PartHeader):
                            await asyncio.to_thread(writer.begin, received)
                        else:
                            await asyncio.to_thread(writer.write, received.message)
                            next_batch = received.index + 1
                            done += received.row_count
                            await progress(done, False)
        return done
