"""Data sets: kept with their table, looked at, listed and deleted."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scraper_server.datasets.placing import place
from scraper_server.datasets.preview import Preview, preview_table
from scraper_server.datasets.store import ArtifactGone, DatasetStore
from scraper_server.datasets.values import Dataset, Origin, table_key
from scraper_server.tables.conversion import TABLE_FILE, ConvertedTable
from servicekit.artifacts import ArtifactStore
from servicekit.idempotency import RequestKey

# A page ends early when its data sets have so many columns: an answer must fit into one message.
PAGE_COLUMNS = 100_000


@dataclass(frozen=True)
class NewDataset:
    """A data set that is to be kept: what its owner and its file say."""

    owner: str
    id: str
    display_name: str
    origin: Origin
    import_job: str = ""


class Datasets:
    """The data sets of every owner."""

    def __init__(self, store: DatasetStore, artifacts: ArtifactStore) -> None:
        self._store = store
        self._artifacts = artifacts

    async def keep(
        self, new: NewDataset, table: ConvertedTable, directory: Path, request: RequestKey | None = None
    ) -> Dataset:
        """Keeps a data set whose table lies in `directory`; the folder stays the caller's.

        Raises:
            AlreadyExists: NAME_TAKEN.
        """
        dataset = Dataset(
            owner=new.owner,
            id=new.id,
            display_name=new.display_name,
            origin=new.origin,
            table=table,
            create_time=datetime.now(UTC),
            import_job=new.import_job,
        )
        while True:
            async with self._artifacts.staged(table_key(table.digest)) as staging:
                await asyncio.to_thread(place, directory, staging)
            try:
                await self._store.add(dataset, request)
            except ArtifactGone:  # the last other owner of an equal table deleted it just now
                continue
            return dataset

    async def get(self, owner: str, dataset_id: str) -> Dataset:
        """An owner's data set with its statistics. Raises NotFound."""
        return await self._store.get(owner, dataset_id)

    async def find(self, owner: str, dataset_id: str) -> Dataset:
        """An owner's data set, its columns without statistics, which are read more slowly. Raises NotFound."""
        return await self._store.find(owner, dataset_id)

    async def page(self, owner: str, before: int | None, limit: int) -> tuple[list[Dataset], int | None]:
        """An owner's data sets, newest first, and the cursor of the next page, None on the last."""
        rows = await self._store.page(owner, before, limit + 1)
        shown: list[Dataset] = []
        columns = 0
        for _, dataset in rows[:limit]:
            columns += len(dataset.columns)
            if shown and columns > PAGE_COLUMNS:
                break
            shown.append(dataset)
        return shown, rows[len(shown) - 1][0] if len(rows) > len(shown) else None

    async def delete(self, owner: str, dataset_id: str, *, force: bool) -> None:
        """Deletes a data set. Raises NotFound, and RESOURCE_IN_USE if it has views and `force` is False."""
        await self._store.delete(owner, dataset_id, force=force)

    async def preview(
        self, owner: str, dataset_id: str, start_row: int, row_count: int, columns: Sequence[str]
    ) -> Preview:
        """Some rows as text. Raises NotFound, and COLUMN_NOT_FOUND."""
        dataset = await self._store.find(owner, dataset_id)
        table = await self.table_file(dataset)
        return await asyncio.to_thread(preview_table, table, dataset.columns, start_row, row_count, tuple(columns))

    async def table_file(self, dataset: Dataset) -> Path:
        """Where the rows of a data set lie, to be read only."""
        return await self._artifacts.fetch(table_key(dataset.table.digest)) / TABLE_FILE
