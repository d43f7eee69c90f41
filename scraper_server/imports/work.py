"""The work of one import job: resolve, download, convert, profile, keep."""

import asyncio
import contextlib
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from scraper_server.datasets.catalog import Datasets, NewDataset
from scraper_server.datasets.quota import Quota, Reservation
from scraper_server.datasets.values import Dataset, Origin, SourceOrigin, UploadOrigin
from scraper_server.imports.cached_file import Claim
from scraper_server.imports.downloads import Downloads
from scraper_server.imports.meter import Meter, reported
from scraper_server.imports.spec import DATASET_CREATED, ImportPhase, ImportResult, ImportSpec
from scraper_server.imports.threads import settled
from scraper_server.limits import Limits
from scraper_server.processes import Processes
from scraper_server.sources.catalog import Sources
from scraper_server.sources.source import FileRequest
from scraper_server.tables.conversion import ConversionPhase, ConvertedTable, convert
from scraper_server.uploads.sessions import UploadSessions
from servicekit.disk import full_disk_told
from servicekit.errors import NotFound, Unavailable
from servicekit.jobs.runner import JobRun
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import EventDraft, Job, JobState, LostAttempt

T = TypeVar("T")

# An attempt that is repeated because its job could not be ended has told of its data set among the last few events.
LATEST_EVENTS = 10
# In a job's folder, the name of its owner, by whom alone a job can be looked up.
OWNER_FILE = "owner"


@dataclass(frozen=True)
class FetchedFile:
    """A file that is here, to be read only."""

    path: Path
    name: str
    """Its ending helps to tell the format."""
    title: str
    """What to call the data set, unless its owner says so."""
    origin: Origin
    members: tuple[str, ...] = ()
    """The members that are wanted of an archive, as patterns."""


class ImportWork:
    """What the job runner calls for each attempt."""

    def __init__(
        self,
        sources: Sources,
        datasets: Datasets,
        jobs: JobStore,
        processes: Processes,
        directory: Path,
        limits: Limits,
        quota: Quota,
        downloads: Downloads,
        uploads: UploadSessions,
    ) -> None:
        """`directory` has a folder for each job that is under way; nobody else uses it."""
        self._sources = sources
        self._datasets = datasets
        self._jobs = jobs
        self._processes = processes
        self._directory = directory
        self._limits = limits
        self._quota = quota
        self._downloads = downloads
        self._uploads = uploads

    async def start(self) -> None:
        """Removes the folders of jobs that were cancelled while no server ran."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for owner_file in self._directory.glob(f"*/{OWNER_FILE}"):
            if await self._is_over(owner_file.read_text(), owner_file.parent.name):
                shutil.rmtree(owner_file.parent, ignore_errors=True)
        await self._downloads.start(self._is_over)

    async def drain(self) -> None:
        """Nothing to do: the runner ends the work."""

    async def __call__(self, run: JobRun) -> dict[str, object]:
        """Makes the data set and returns the job's result.

        A download that the end of the server interrupts is gone on with by the next attempt. Otherwise nothing is left
        in the job's folder, whatever happens.
        """
        directory = self._directory / run.job.id
        try:
            dataset = await self._made_before(run)
            with full_disk_told():
                result = await (self._make(run, directory) if dataset is None else self._told(run, dataset))
        except asyncio.CancelledError:
            if await self._is_over(run.job.owner, run.job.id):
                await _unbroken(self._clean(run.job.id))
            raise
        except Exception:
            await _unbroken(self._clean(run.job.id))
            raise
        await _unbroken(self._clean(run.job.id))
        return result.to_json()

    async def _clean(self, job_id: str) -> None:
        """Removes what a job had in its work."""
        await settled(shutil.rmtree, self._directory / job_id, ignore_errors=True)
        await self._downloads.release(job_id)

    async def _make(self, run: JobRun, directory: Path) -> ImportResult:
        spec, owner = ImportSpec.from_json(run.job.spec), run.job.owner
        async with self._quota.reserved(owner, f"the import of '{_subject(spec.origin)}'") as reservation:
            async with reported(run) as meter:
                if isinstance(spec.origin, SourceOrigin):
                    file = await self._downloaded(run.job, spec.origin, directory, meter, reservation)
                else:
                    file = await self._uploaded(run.job, spec.upload_session, spec.origin, directory, meter)
                # A process of a killed server may still write into the folder of its attempt.
                table_directory = directory / f"table-{run.attempt}"
                table = await self._converted(file, spec, table_directory, meter)
            # In place of the download, or of the upload whose session still counts: both go.
            counted = file.origin.size_bytes if isinstance(file.origin, UploadOrigin) else 0
            await reservation.hold(max(table.size_bytes - counted, 0))
            new = NewDataset(owner, spec.dataset_id, spec.display_name or file.title, file.origin, run.job.id)
            return await _unbroken(self._kept(run, new, table, table_directory))

    async def _kept(self, run: JobRun, new: NewDataset, table: ConvertedTable, directory: Path) -> ImportResult:
        return await self._told(run, await self._datasets.keep(new, table, directory))

    async def _told(self, run: JobRun, dataset: Dataset) -> ImportResult:
        """Says that the data set is there, unless an earlier attempt said so and got no further."""
        result = ImportResult(dataset.id, dataset.table.row_count, len(dataset.columns))
        latest = await self._jobs.events(run.job.id, max(run.job.last_sequence - LATEST_EVENTS, 0), LATEST_EVENTS)
        if all(event.kind != DATASET_CREATED for event in latest):
            await run.emit(EventDraft(DATASET_CREATED, result.to_json()))
        if session := ImportSpec.from_json(run.job.spec).upload_session:
            await self._uploads.discard(run.job.owner, session, run.job.id)
        return result

    async def _uploaded(
        self, job: Job, session: str, origin: UploadOrigin, directory: Path, meter: Meter
    ) -> FetchedFile:
        def progress(read_bytes: int) -> None:
            meter.update(ImportPhase.RESOLVING, read_bytes, origin.size_bytes)

        await settled(_owned, directory, job.owner)
        path, checked = await self._uploads.whole(job.owner, session, progress)
        return FetchedFile(path, checked.file_name, checked.file_name, checked)

    async def _downloaded(
        self, job: Job, wanted: SourceOrigin, directory: Path, meter: Meter, reservation: Reservation
    ) -> FetchedFile:
        source = self._sources.find(wanted.source)
        request = FileRequest(wanted.ref, wanted.version, wanted.path, wanted.members)
        file = await source.resolve(job.owner, request)

        async def progress(done_bytes: int, total_bytes: int) -> None:
            meter.update(ImportPhase.DOWNLOADING, done_bytes, total_bytes or file.size_bytes)
            await reservation.hold(max(done_bytes, total_bytes))

        meter.begin(ImportPhase.DOWNLOADING)
        await reservation.hold(file.size_bytes)
        await settled(_owned, directory, job.owner)
        claim = Claim(job.id, job.owner)
        path = await self._downloads.taken(claim, source, file, directory / "download", progress)
        await reservation.hold((await asyncio.to_thread(path.stat)).st_size)
        origin = SourceOrigin(wanted.source, file.ref, file.version, file.path, file.members)
        return FetchedFile(path, file.name, file.title, origin, file.members)

    async def _converted(self, file: FetchedFile, spec: ImportSpec, directory: Path, meter: Meter) -> ConvertedTable:
        def progress(phase: ConversionPhase, done_bytes: int, total_bytes: int) -> None:
            meter.update(ImportPhase(phase.value), done_bytes, total_bytes)

        meter.begin(ImportPhase.CONVERTING)
        await settled(_emptied, directory)
        try:
            work = partial(convert, members=file.members)
            table = await self._processes.run(
                work, file.path, file.name, spec.format, self._limits, directory, report=progress
            )
        except Unavailable as error:  # the process died; another attempt may find more memory
            raise LostAttempt(error) from error
        meter.update(ImportPhase.PROFILING, table.size_bytes, table.size_bytes)
        return table

    async def _made_before(self, run: JobRun) -> Dataset | None:
        """The data set, if an earlier attempt kept it but did not live to say so."""
        if run.attempt == 1:
            return None
        try:
            dataset = await self._datasets.find(run.job.owner, ImportSpec.from_json(run.job.spec).dataset_id)
        except NotFound:
            return None
        return dataset if dataset.import_job == run.job.id else None

    async def _is_over(self, owner: str, job_id: str) -> bool:
        """True if no attempt will go on with the job."""
        try:
            job = await self._jobs.get(owner, job_id)
        except NotFound:
            return True
        return job.state is JobState.CANCELLING or job.state.is_final


def _owned(directory: Path, owner: str) -> None:
    """Makes a job's folder, with whose it is."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / OWNER_FILE).write_text(owner)


def _emptied(directory: Path) -> None:
    """Makes a folder with nothing in it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()


def _subject(origin: Origin) -> str:
    """What to call a file before it is here."""
    return origin.file_name if isinstance(origin, UploadOrigin) else origin.path or origin.ref


async def _unbroken(steps: Coroutine[None, None, T]) -> T:
    """Goes through the last steps to their end even if the job is cancelled meanwhile: it came too late.

    Otherwise a cancelled job could leave a data set or files behind.
    """
    task = asyncio.create_task(steps)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()
