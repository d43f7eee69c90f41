"""Rows of views on this machine: fetched once, files for each part, in a folder named by the view's digest."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import stamina

from ml_server.views.folder_cache import FolderCache, Lease
from ml_server.views.part_files import PartWriter
from ml_server.views.values import Part, PartHeader, RowBatch, View
from servicekit.disk import full_disk_told
from servicekit.errors import Unavailable

Progress = Callable[[int, bool], Awaitable[None]]

WAIT_SECONDS = 0.05


class BatchSource(Protocol):
    """Streams the rows of a part of a view, from any batch on."""

    def batches(self, owner: str, view: View, part: Part, start_batch: int) -> AsyncIterator[PartHeader | RowBatch]:
        """Yields the header, then each batch from `start_batch` on."""
        ...


@dataclass(frozen=True)
class FetchedView(AbstractContextManager["FetchedView"]):
    """The file of each part of a view, see part_files.py, or none if what is made of them is there.

    The files, or what is made of them, stay as long as this is open.
    """

    files: dict[Part, Path]
    lease: Lease

    def close(self) -> None:
        """Lets the files go; they stay until others need their room."""
        self.lease.close()

    def __exit__(self, *error: object) -> None:
        """As `close`."""
        self.close()


class FetchedViews:
    """The views in a cache. Jobs on the same view share its files, and what is made of them lies there too."""

    def __init__(self, cache: FolderCache, source: BatchSource) -> None:
        self.cache = cache
        self._source = source
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fetch(self, owner: str, view: View, progress: Progress, made: str | None = None) -> FetchedView:
        """The rows of a view. `progress` is told rows so far, and whether they were here already.

        They are not needed if the cache has what was made of them, under the key `made`. A cut stream goes on at the
        batch after the last one received.

        Raises:
            ResourceExhausted: LIMIT_EXCEEDED: the view is larger than the cache may be, or the disk is full.
            FlareError: What the source says.
        """
        if made is not None and (lease := await asyncio.to_thread(self.cache.lease, made)) is not None:
            await progress(view.total_rows, True)
            return FetchedView({}, lease)
        async with self._fetching[view.digest]:
            is_fetched = False
            while (lease := await asyncio.to_thread(self.cache.lease, view.digest)) is None:
                is_fetched |= await self._fetch(owner, view, progress)
        if is_fetched:
            await asyncio.to_thread(self.cache.make_room, 0)  # texts may have taken more than was expected
        else:
            await progress(view.total_rows, True)
        return FetchedView({part: _file(lease.directory, part) for part in Part}, lease)

    async def _fetch(self, owner: str, view: View, progress: Progress) -> bool:
        """Fills the folder of a view; False if another process is at it."""
        claim = await asyncio.to_thread(self.cache.claim, view.digest)
        if claim is None:
            await asyncio.sleep(WAIT_SECONDS)
            return False
        try:
            await asyncio.to_thread(self.cache.require_room, f"view '{view.name}'", view.expected_bytes)
            done = 0
            with full_disk_told(remedy="lower FLARE_ML_VIEW_CACHE_BYTES, or make room on the disk"):
                for part in Part:
                    done = await self._fetch_part(owner, view, part, _file(claim.staging, part), done, progress)
                await asyncio.to_thread(claim.publish)
        finally:
            await asyncio.to_thread(claim.close)
        return True

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


def _file(directory: Path, part: Part) -> Path:
    return directory / f"{part}.arrow"
