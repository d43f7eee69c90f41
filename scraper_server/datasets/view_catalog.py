"""Views of data sets: computed, kept, listed, deleted, and read batch by batch."""

import asyncio
import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from scraper_server.datasets.catalog import PAGE_COLUMNS, Datasets
from scraper_server.datasets.ids import random_word
from scraper_server.datasets.placing import place
from scraper_server.datasets.quota import Quota
from scraper_server.datasets.store import ArtifactGone, DatasetStore, view_name_taken
from scraper_server.datasets.values import DatasetView, view_key
from scraper_server.processes import Processes
from scraper_server.views.batches import PartFile, PartStream
from scraper_server.views.layouts import LayoutKind, layout_of
from scraper_server.views.making import make_view, part_file
from scraper_server.views.spec import Part, ViewSpec
from servicekit.artifacts import ArtifactStore
from servicekit.disk import full_disk_told
from servicekit.errors import Aborted, AlreadyExists, Reason
from servicekit.files import folder_bytes
from servicekit.idempotency import RequestKey

RANDOM_ID_CHARACTERS = 8


@dataclass(frozen=True)
class NewView:
    """A view that is to be made. An empty `id` lets the server choose."""

    owner: str
    dataset_id: str
    id: str
    display_name: str
    spec: ViewSpec


class Views:
    """The views of every owner."""

    def __init__(
        self,
        datasets: Datasets,
        store: DatasetStore,
        artifacts: ArtifactStore,
        processes: Processes,
        directory: Path,
        quota: Quota,
    ) -> None:
        """`directory` holds rows while they are computed; nobody else uses it."""
        self._datasets = datasets
        self._store = store
        self._artifacts = artifacts
        self._processes = processes
        self._directory = directory
        self._quota = quota

    async def start(self) -> None:
        """Removes what was left by calls that the end of the server cut short."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    async def drain(self) -> None:
        """Nothing to do: making a view is a call, and ends with it."""

    async def create(self, new: NewView, *, validate_only: bool, request: RequestKey | None = None) -> DatasetView:
        """Computes a view and keeps it, or only computes it.

        Raises:
            NotFound: The owner has no such data set.
            AlreadyExists: NAME_TAKEN.
            InvalidArgument: Whatever in it can't work, with the path of the field.
            ResourceExhausted: QUOTA_EXCEEDED.
        """
        known = None if validate_only else await self._store.remembered(request)
        if known is not None:
            return await self._store.get_view(new.owner, *known.split("/"))
        dataset = await self._datasets.find(new.owner, new.dataset_id)
        if new.id and await self._store.view_exists(new.owner, new.dataset_id, new.id):
            raise view_name_taken(new.dataset_id, new.id)
        table = await self._datasets.table_file(dataset)
        directory = self._directory / uuid.uuid4().hex
        await asyncio.to_thread(directory.mkdir)
        try:
            target = None if validate_only else directory
            resolved = await self._processes.run(make_view, table, dataset.table, new.spec, target)
            view = DatasetView(
                owner=new.owner,
                dataset_id=new.dataset_id,
                id=new.id or random_word(RANDOM_ID_CHARACTERS),
                display_name=new.display_name,
                spec=new.spec,
                resolved=resolved,
                dataset_digest=dataset.table.digest,
                origin=dataset.origin,
                create_time=datetime.now(UTC),
            )
            if validate_only:
                return view
            with full_disk_told():
                view = replace(view, size_bytes=await asyncio.to_thread(folder_bytes, directory))
                async with self._quota.reserved(new.owner, "the view") as reservation:
                    await reservation.hold(view.size_bytes)
                    return await self._kept(view, directory, request)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def get(self, owner: str, dataset_id: str, view_id: str) -> DatasetView:
        """A view. Raises NotFound."""
        return await self._store.get_view(owner, dataset_id, view_id)

    async def page(
        self, owner: str, dataset_id: str | None, before: int | None, limit: int
    ) -> tuple[list[DatasetView], int | None]:
        """The views of a data set or, without one, of all; newest first; and the cursor of the next page."""
        rows = await self._store.views_page(owner, dataset_id, before, limit + 1)
        shown: list[DatasetView] = []
        columns = 0
        for _, view in rows[:limit]:
            columns += len(view.resolved.columns) + len(view.spec.columns)
            if shown and columns > PAGE_COLUMNS:
                break
            shown.append(view)
        return shown, rows[len(shown) - 1][0] if len(rows) > len(shown) else None

    async def delete(self, owner: str, dataset_id: str, view_id: str) -> None:
        """Deletes a view. Raises NotFound."""
        await self._store.delete_view(owner, dataset_id, view_id)

    async def part(
        self, owner: str, dataset_id: str, view_id: str, part: Part, layout: LayoutKind, digest: str
    ) -> tuple[DatasetView, PartStream]:
        """A view with the rows of a part, which can be read to their end even if the view is deleted meanwhile.

        Raises:
            NotFound: There is no such view.
            Aborted: ETAG_MISMATCH, if `digest` is given and the view has another one.
        """
        view = await self._store.get_view(owner, dataset_id, view_id)
        if digest and digest != view.resolved.digest:
            message = f"view '{view.name}' is another one by now ({view.resolved.digest}): read it from batch 0"
            raise Aborted(Reason.ETAG_MISMATCH, message, resource=view.name)
        directory = await self._artifacts.fetch(view_key(view.resolved.digest))
        file = await asyncio.to_thread(PartFile, part_file(directory, part))
        return view, PartStream(file, layout_of(layout, view.resolved.columns, file.schema))

    async def _kept(self, view: DatasetView, directory: Path, request: RequestKey | None) -> DatasetView:
        """Keeps the view; or returns the one that the same request has made meanwhile."""
        while True:
            async with self._artifacts.staged(view_key(view.resolved.digest)) as staging:
                await asyncio.to_thread(place, directory, staging)
            try:
                await self._store.add_view(view, request)
            except ArtifactGone:  # the last other owner of an equal view deleted it just now
                continue
            except AlreadyExists:
                known = await self._store.remembered(request)
                if known is None:
                    raise
                return await self._store.get_view(view.owner, *known.split("/"))
            return view
