"""Makes data sets of files that callers send in one call."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from scraper_server.datasets.catalog import Datasets, NewDataset
from scraper_server.datasets.names import DatasetNames
from scraper_server.datasets.quota import Quota
from scraper_server.datasets.store import DatasetStore
from scraper_server.datasets.values import Dataset, UploadOrigin
from scraper_server.limits import Limits
from scraper_server.processes import Processes
from scraper_server.tables.conversion import ConvertedTable, convert
from scraper_server.tables.formats import FileFormat, checked
from servicekit.disk import full_disk_told
from servicekit.errors import AlreadyExists, Reason
from servicekit.idempotency import RequestKey
from servicekit.uploads import Announcement, Bytes, receive_file, refuse_larger

LIMIT_SETTING = "FLARE_SCRAPER_MAX_FILE_BYTES"


@dataclass(frozen=True)
class UploadHeader:
    """What an upload will send."""

    dataset_id: str
    announced: Announcement
    display_name: str = ""
    format: FileFormat = field(default_factory=FileFormat)


class Uploads:
    """Receives files, and turns them into data sets. Nothing is left of an upload that does not succeed."""

    def __init__(
        self,
        datasets: Datasets,
        store: DatasetStore,
        names: DatasetNames,
        processes: Processes,
        directory: Path,
        limits: Limits,
        quota: Quota,
    ) -> None:
        """`directory` holds files while they arrive; nobody else uses it."""
        self._datasets = datasets
        self._store = store
        self._names = names
        self._processes = processes
        self._directory = directory
        self._limits = limits
        self._quota = quota

    async def start(self) -> None:
        """Removes what uploads left that were cut short by the end of the server."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    async def drain(self) -> None:
        """Nothing to do: an upload is a call, and ends with it."""

    async def receive(
        self, owner: str, header: UploadHeader, chunks: AsyncIterator[Bytes], request: RequestKey | None = None
    ) -> Dataset:
        """Takes a file and makes a data set of it. A repeated request returns its first data set, and takes nothing.

        Raises:
            AlreadyExists: NAME_TAKEN, before anything is taken.
            InvalidArgument: UPLOAD_INCOMPLETE, FILE_NOT_A_TABLE, FILE_EMPTY.
            ResourceExhausted: FILE_TOO_LARGE or QUOTA_EXCEEDED, before anything is taken.
        """
        known = await self._store.remembered(request)
        if known is not None:
            return await self._datasets.get(owner, known)
        refuse_larger(header.announced, self._limits.max_file_bytes, Reason.FILE_TOO_LARGE, LIMIT_SETTING)
        wanted = checked(header.format)
        name = header.announced.file_name
        dataset_id = await self._names.chosen(owner, header.dataset_id, PurePosixPath(name).stem)
        async with self._quota.reserved(owner, f"file '{name}'") as reservation, self._scratch() as directory:
            await reservation.hold(header.announced.size_bytes)
            with full_disk_told():
                file, table_directory = directory / "file", directory / "table"
                await asyncio.to_thread(table_directory.mkdir)
                sha256 = await receive_file(file, header.announced, chunks)
                table = await self._processes.run(
                    convert, file, name, wanted, self._limits, table_directory, report=_unheard
                )
                await reservation.hold(table.size_bytes)  # in place of the file, which goes
                origin = UploadOrigin(name, header.announced.size_bytes, sha256)
                new = NewDataset(owner, dataset_id, header.display_name or name, origin)
                return await self._kept(new, header, table, table_directory, request)

    @asynccontextmanager
    async def _scratch(self) -> AsyncIterator[Path]:
        """A folder for as long as the block runs."""
        directory = self._directory / uuid.uuid4().hex
        await asyncio.to_thread(directory.mkdir)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _kept(
        self,
        new: NewDataset,
        header: UploadHeader,
        table: ConvertedTable,
        directory: Path,
        request: RequestKey | None,
    ) -> Dataset:
        """Keeps the data set, though another upload may have taken the id or answered the request meanwhile."""
        while True:
            try:
                return await self._datasets.keep(new, table, directory, request)
            except AlreadyExists:
                known = await self._store.remembered(request)
                if known is not None:
                    return await self._datasets.get(new.owner, known)
                if header.dataset_id:
                    raise
                new = replace(new, id=await self._names.chosen(new.owner, "", new.id))


def _unheard(*progress: object) -> None:
    """Nobody watches the progress of an upload: its caller counts the bytes that it sends."""
