"""The work of a batch prediction: gets the rows, predicts them into a file, and has a data set made of it."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from ml_server.batch_prediction.columns import OutputColumns, lacking_columns, view_types
from ml_server.batch_prediction.table import write_predictions
from ml_server.batch_prediction.values import BatchPredictionSpec, Phase, Progress, created_draft
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.registry.store import ModelStore, no_such_version
from ml_server.registry.values import ModelVersion, VersionReference
from ml_server.views.fetched import FetchedViews
from ml_server.views.part_files import PartFile
from ml_server.views.values import View
from servicekit.errors import Aborted, FlareError, Reason, Unavailable
from servicekit.jobs.runner import JobRun
from servicekit.jobs.values import ClaimLost, LostAttempt
from servicekit.stopping import Stopping, in_thread

TELL_SECONDS = 0.5
FILE = "predictions.parquet"

Told = Callable[[str, int, int], Awaitable[None]]


class ViewReader(Protocol):
    """Looks up a view for its owner while no caller waits."""

    async def get_for(self, owner: str, name: str) -> View:
        """The view. Raises NotFound, Unavailable."""
        ...


class DatasetMaker(Protocol):
    """Makes data sets for the owners of jobs; see scraper.py."""

    async def upload(self, owner: str, job: str, file: Path, file_name: str, told: Told) -> str:
        """Sends a file and returns the session that has it."""
        ...

    async def make(self, owner: str, job: str, session: str, dataset_id: str, display_name: str) -> str:
        """Makes a data set of a session's file, and returns its name."""
        ...

    async def discard(self, owner: str, job: str, session: str, dataset_id: str, display_name: str) -> None:
        """Leaves nothing of what `make` was called for."""
        ...

    async def discard_session(self, owner: str, session: str) -> None:
        """Removes a session."""
        ...


class BatchPredictionWork:
    """Does the work of one batch prediction after another; safe to call for several at a time."""

    def __init__(
        self,
        models: ModelStore,
        loaded: LoadedVersions,
        views: ViewReader,
        fetched: FetchedViews,
        datasets: DatasetMaker,
        directory: Path,
    ) -> None:
        """`directory` is where the files are written."""
        self._models = models
        self._loaded = loaded
        self._views = views
        self._fetched = fetched
        self._datasets = datasets
        self._directory = directory

    async def __call__(self, run: JobRun) -> dict[str, Any]:
        """Works to the end and returns the job's result: the name of the data set, empty if it was cancelled.

        A job that ends otherwise than with its data set leaves nothing: no file, upload or data set.

        Raises:
            FlareError: The job can't succeed.
            LostAttempt: Another attempt may.
        """
        attempt = _Attempt(self, run)
        working = asyncio.ensure_future(attempt.work())
        asked = asyncio.ensure_future(run.finish_requested.wait())
        try:
            await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
            if run.finish_requested.is_set():
                working.cancel()
                await asyncio.wait([working])
                if not working.cancelled() and isinstance(working.exception(), ClaimLost):
                    raise ClaimLost
                await attempt.abandon()
                return {"dataset": ""}
            dataset = working.result()
        except Unavailable as error:
            raise LostAttempt(error) from error
        except (ClaimLost, LostAttempt, asyncio.CancelledError):  # another attempt goes on with what there is
            raise
        except Exception:
            with contextlib.suppress(Unavailable):  # what can't be removed now goes by itself in time
                await attempt.abandon()
            raise
        finally:
            for task in (working, asked):
                task.cancel()
            await asyncio.gather(working, asked, return_exceptions=True)
        await attempt.forget()
        return {"dataset": dataset}


class _Attempt:
    """One attempt at a batch prediction."""

    def __init__(self, tools: BatchPredictionWork, run: JobRun) -> None:
        self._tools = tools
        self._run = run
        self._owner = run.job.owner
        self._spec = BatchPredictionSpec.model_validate(run.job.spec)
        self._folder = tools._directory / run.job.id
        self._progress = Progress(Phase.FETCHING, self._spec.total_rows)
        if run.job.progress:
            self._progress = Progress.from_json(run.job.progress)
        self._told = 0.0

    async def work(self) -> str:
        """Goes on where the attempt before was, and returns the data set."""
        spec, file = self._spec, self._folder / FILE
        if self._progress.phase is not Phase.IMPORTING:
            if not await asyncio.to_thread(file.exists):
                await self._predict(file)
            session = await self._tools._datasets.upload(self._owner, self._run.job.id, file, FILE, self._uploaded)
            # Before the import is there: after a kill this one is found again, and no other is begun.
            await self._tell(replace(self._progress, phase=Phase.IMPORTING, session=session))
        dataset = await self._tools._datasets.make(*self._import())
        await self._run.emit(created_draft(dataset, spec.total_rows), progress=asdict(self._progress))
        return dataset

    async def abandon(self) -> None:
        """Removes whatever there is."""
        if self._progress.phase is Phase.IMPORTING:
            await self._tools._datasets.discard(*self._import())
        elif self._progress.session:
            await self._tools._datasets.discard_session(self._owner, self._progress.session)
        await self.forget()

    async def forget(self) -> None:
        """Removes what only another attempt would have needed."""
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _import(self) -> tuple[str, str, str, str, str]:
        title = f"{self._spec.view} predicted by {self._spec.version}"
        return self._owner, self._run.job.id, self._progress.session, self._spec.dataset_id, title[:200]

    async def _predict(self, file: Path) -> None:
        spec = self._spec
        version, view = await self._version(), await self._view()
        self._progress = Progress(Phase.FETCHING, spec.total_rows)

        async def fetched(rows: int, _cached: bool) -> None:
            await self._tell_sometimes(replace(self._progress, fetched_rows=rows), last=rows == view.total_rows)

        with await self._tools._fetched.fetch(self._owner, view, fetched) as rows:
            async with self._tools._loaded.using(version) as served:
                kinds = view_types(view)
                kept = {name: kinds[name] for name in spec.columns}
                needed = {column.name: column.type for column in served.features.columns} | kept
                parts = {part: PartFile(rows.files[part], needed) for part in spec.parts if view.rows[part]}
                counted = 0

                def work(stopping: Stopping) -> None:
                    def told(done: int) -> None:
                        nonlocal counted
                        stopping.check()
                        counted = done

                    columns = OutputColumns(kept, served.targets, lacking_columns(view))
                    write_predictions(parts, served, spec.version, columns, file, told)

                await self._tell(replace(self._progress, phase=Phase.PREDICTING))
                began = time.monotonic()
                running = asyncio.ensure_future(in_thread(work))
                try:
                    while True:
                        done, _ = await asyncio.wait([running], timeout=TELL_SECONDS)
                        rate = counted / max(time.monotonic() - began, 1e-9)
                        await self._tell(replace(self._progress, predicted_rows=counted, rows_per_second=rate))
                        if done:
                            running.result()
                            return
                finally:
                    running.cancel()
                    with contextlib.suppress(asyncio.CancelledError, FlareError):
                        await running

    async def _version(self) -> ModelVersion:
        spec = self._spec
        version = await self._tools._models.version(self._owner, VersionReference(spec.model_id, spec.number))
        if version.model.uid != spec.model_uid or version.details.digest != spec.version_digest:
            raise no_such_version(spec.version)
        return version

    async def _view(self) -> View:
        view = await self._tools._views.get_for(self._owner, self._spec.view)
        if view.digest != self._spec.view_digest:
            message = f"view '{view.name}' is another one than when the job was created: create the job again"
            raise Aborted(Reason.ETAG_MISMATCH, message, resource=view.name)
        return view

    async def _uploaded(self, session: str, sent: int, total: int) -> None:
        progress = replace(
            self._progress, phase=Phase.UPLOADING, session=session, uploaded_bytes=sent, total_bytes=total
        )
        is_first = self._progress.session != session
        await self._tell_sometimes(progress, last=is_first or sent == total)

    async def _tell_sometimes(self, progress: Progress, *, last: bool) -> None:
        self._progress = progress
        if last or time.monotonic() - self._told >= TELL_SECONDS:
            await self._tell(progress)

    async def _tell(self, progress: Progress) -> None:
        self._progress, self._told = progress, time.monotonic()
        await self._run.emit(progress.draft(), progress=asdict(progress))
