"""The work of a training job: fetches its rows, has an executor train, and makes a version of the result."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from ml_server.registry.bundle import read_details, read_preprocessing
from ml_server.registry.models import WEIGHTS_FILE
from ml_server.registry.store import ModelStore, no_such_model, no_such_version
from ml_server.registry.values import (
    Model,
    VersionDetails,
    VersionReference,
    version_artifact,
    weights_artifact,
)
from ml_server.training.base_version import BaseVersion
from ml_server.training.events import (
    DataFetched,
    EpochFinished,
    Progress,
    TrainingEvent,
    TrainingStarted,
    TrainingWarning,
    VersionCreated,
    draft_of,
)
from ml_server.training.executors.executor import Executor
from ml_server.training.jobs import TrainingSpec
from ml_server.training.memory import Memory
from ml_server.training.preparation import prepared_key
from ml_server.training.record import TrainingRecord
from ml_server.training.task import Broke, Failed, Finished, Lost, Provenance, Told, TrainingTask
from ml_server.training.threads import Threads
from ml_server.training.worker_process import files_failed
from ml_server.views.fetched import FetchedView, FetchedViews
from ml_server.views.values import Part, View
from servicekit.artifacts import ArtifactStore
from servicekit.errors import Aborted, FlareError, Internal, NotFound, Reason, Unavailable
from servicekit.files import folder_bytes
from servicekit.jobs.runner import JobRun
from servicekit.jobs.values import Job, LostAttempt

log = structlog.get_logger()

FETCH_EVENT_SECONDS = 0.25


class EndedJobs(Protocol):
    """Tells which jobs have ended."""

    async def ended(self, job_ids: Sequence[str]) -> set[str]:
        """Those of some jobs that have."""
        ...


class ViewReader(Protocol):
    """Looks up a view for its owner while no caller waits."""

    async def get_for(self, owner: str, name: str) -> View:
        """The view. Raises NotFound, Unavailable."""
        ...


@dataclass
class _Story:
    """The job's progress as its events tell it."""

    progress: Progress | None

    def take(self, events: tuple[TrainingEvent, ...], plan_epochs: int) -> dict[str, Any] | None:
        """The progress after some events, None before the loop told anything."""
        for event in events:
            match event:
                case TrainingStarted() if self.progress is None:
                    self.progress = Progress(0, plan_epochs, 0, event.steps_per_epoch, 0.0, 0.0, 0.0, 0, None)
                case Progress():
                    self.progress = event
                case EpochFinished() if self.progress is not None:
                    self.progress = _after_epoch(self.progress, event)
        return asdict(self.progress) if self.progress else None


def _finished_epochs(job: Job) -> int:
    """The epochs that the job's events tell of."""
    return job.progress["finished_epochs"] if job.progress else 0


def _after_epoch(progress: Progress, event: EpochFinished) -> Progress:
    best_epoch, best_loss = progress.best_epoch, progress.best_validation_loss
    if event.is_best:
        best_epoch, best_loss = event.epoch, event.validation_loss
    return replace(
        progress,
        finished_epochs=event.epoch,
        epoch_steps=0,
        train_loss=event.train_loss,
        samples_per_second=event.samples_per_second,
        remaining_seconds=(progress.total_epochs - event.epoch) * event.seconds,
        best_epoch=best_epoch,
        best_validation_loss=best_loss,
    )


@dataclass(frozen=True)
class _Made:
    """The name of the version that a job made, empty for a trial of a sweep, and its details."""

    version: str
    details: VersionDetails


class TrainingWork:
    """Does the work of one job after another; safe to call for several at a time."""

    def __init__(
        self,
        models: ModelStore,
        artifacts: ArtifactStore,
        views: ViewReader,
        fetched: FetchedViews,
        executor: Executor,
        directory: Path,
        threads: Threads,
        memory: Memory,
        jobs: EndedJobs,
    ) -> None:
        """`directory` is where jobs keep what they need to go on after a loss, `jobs` knows who needs it no more.

        `threads` and `memory` say what each of them may use.
        """
        self._models = models
        self._artifacts = artifacts
        self._views = views
        self._fetched = fetched
        self._executor = executor
        self._directory = directory
        self._threads = threads
        self._memory = memory
        self._jobs = jobs

    async def __call__(self, run: JobRun) -> dict[str, Any] | None:
        """Trains to the end and returns the job's result: what it was made with, and the version's name.

        The name is empty for a trial of a sweep. None if it was to finish before the first epoch had ended.

        A trial leaves the files of a version, which its sweep makes one of, or deletes.

        Raises:
            FlareError: The job can't succeed.
            LostAttempt: Another attempt may.
        """
        spec = TrainingSpec.of(run.job)
        try:
            model = await self._models.get(run.job.owner, spec.model_id)
            if model.uid != spec.model_uid:
                raise no_such_model(spec.model_id)
            made = await self._made_before(run, spec, model) or await self._train(run, spec, model)
            if made is not None and made.version:
                await run.emit(draft_of(VersionCreated(made.version)))
        except Unavailable as error:
            raise LostAttempt(error) from error
        except OSError as error:  # of our own files: a disk that is full may have room again
            log.warning("files_failed", job=run.job.id, exc_info=error)
            raise LostAttempt(files_failed(error)) from error
        except FlareError:
            self._forget(run)
            raise
        except asyncio.CancelledError:
            if run.is_abandoned:
                self._forget(run)
            raise
        self._forget(run)
        await self._forget_ended()
        if made is None:
            return None
        return {"version": made.version, "record": TrainingRecord.of(made.details).model_dump(mode="json")}

    async def _made_before(self, run: JobRun, spec: TrainingSpec, model: Model) -> _Made | None:
        """What an earlier attempt made and did not live to tell; None if it made nothing."""
        if spec.sweep:
            artifact = version_artifact(model.uid, run.job.id)
            is_there = await self._artifacts.exists(artifact)
            return _Made("", read_details(await self._artifacts.fetch(artifact))) if is_there else None
        version = await self._models.version_of_job(model, run.job.id)
        return _Made(version.name, version.details) if version else None

    def _forget(self, run: JobRun) -> None:
        """Removes what only another attempt would have needed."""
        shutil.rmtree(self._directory / run.job.id, ignore_errors=True)

    async def _forget_ended(self) -> None:
        """Removes what jobs left that ended while they waited, or with the last of their attempts."""
        if not self._directory.is_dir():
            return
        for job_id in await self._jobs.ended([folder.name for folder in self._directory.iterdir()]):
            await asyncio.to_thread(shutil.rmtree, self._directory / job_id, ignore_errors=True)

    async def _train(self, run: JobRun, spec: TrainingSpec, model: Model) -> _Made | None:
        if run.finish_requested.is_set() and not _finished_epochs(run.job):
            return None
        view = await self._view(run, spec)
        base = await self._base_files(run.job.owner, spec.base) if spec.base else None
        with await self._fetch(run, view, model, base) as rows:
            task = await self._task(run, spec, model, view, rows.files, base)
            await self._warn_of_other_columns(run, model, task)
            return await self._execute(run, spec, model, task, rows)

    async def _execute(
        self, run: JobRun, spec: TrainingSpec, model: Model, task: TrainingTask, rows: FetchedView
    ) -> _Made | None:
        story = _Story(Progress(**run.job.progress) if run.job.progress else None)
        async with aclosing(self._executor.run(task, run)) as messages:
            async for message in messages:
                match message:
                    case Told(events):
                        if any(isinstance(event, TrainingStarted) for event in events):
                            rows.close()  # the worker holds what it made of them
                        progress = story.take(events, spec.plan.epochs)
                        await run.emit(*(draft_of(event) for event in events), progress=progress)
                    case Finished(details):
                        return await self._keep(spec, model, task, details)
                    case Failed(error):
                        raise error
                    case Broke(traceback):
                        log.error("worker_broke", job=run.job.id, traceback=traceback)
                        raise Internal(Reason.INTERNAL, "training broke; the server's log has the cause")
                    case Lost(error):
                        raise LostAttempt(error)
        if run.finish_requested.is_set():  # before the first epoch ended, so there was nothing to finish with
            return None
        raise LostAttempt(Unavailable(Reason.DEPENDENCY_UNAVAILABLE, "the worker ended without a result"))

    async def _view(self, run: JobRun, spec: TrainingSpec) -> View:
        view = await self._views.get_for(run.job.owner, spec.view)
        if view.digest != spec.view_digest:
            raise Aborted(
                Reason.ETAG_MISMATCH,
                f"view '{spec.view}' is another one than when the job was created: create the job again",
                resource=spec.view,
            )
        return view

    async def _fetch(self, run: JobRun, view: View, model: Model, base: Path | None) -> FetchedView:
        last_told = 0.0

        async def fetched(rows: int, cached: bool) -> None:
            nonlocal last_told
            now = time.monotonic()
            if rows == view.total_rows or now - last_told >= FETCH_EVENT_SECONDS:
                last_told = now
                await run.emit(draft_of(DataFetched(rows, view.total_rows, cached)))

        made = await asyncio.to_thread(prepared_key, view.digest, view.weight, model.specification.preprocessing, base)
        return await self._fetched.fetch(run.job.owner, view, fetched, made)

    async def _task(
        self,
        run: JobRun,
        spec: TrainingSpec,
        model: Model,
        view: View,
        files: dict[Part, Path],
        base: Path | None,
    ) -> TrainingTask:
        weights = None
        if model.has_initial_weights:
            weights = await self._artifacts.fetch(weights_artifact(model.uid)) / WEIGHTS_FILE
        directory = self._directory / run.job.id
        return TrainingTask(
            specification=model.specification,
            plan=spec.plan.model_copy(update={"device": run.resource}) if run.resource else spec.plan,
            inputs=view.inputs,
            targets=view.targets,
            weight=view.weight,
            files=files,
            cache=self._fetched.cache,
            memory_bytes=self._memory.job_bytes,
            initial_weights=weights,
            checkpoints=directory / "checkpoints",
            output=directory / "version",
            threads=self._threads.of(spec.plan),
            provenance=Provenance(run.job.id, view.name, view.digest, spec.base.name if spec.base else ""),
            logged_epochs=_finished_epochs(run.job),
            base=base,
        )

    async def _base_files(self, owner: str, base: BaseVersion) -> Path:
        """The folder of a base version. Raises NotFound if it was deleted while the job was being created."""
        try:
            version = await self._models.version(owner, VersionReference(base.model_id, base.number))
            if version.model.uid != base.model_uid:
                raise no_such_version(base.name)
            return await self._artifacts.fetch(version.artifact)
        except NotFound as error:
            raise NotFound(
                Reason.NOT_FOUND,
                f"base version '{base.name}' is no longer there: create the job again with another one",
                resource=base.name,
            ) from error

    async def _warn_of_other_columns(self, run: JobRun, model: Model, task: TrainingTask) -> None:
        """Tells who retrains a model on other columns: `models/iris` will mean the new version, and take only these."""
        if run.attempt > 1 or not model.latest_version:
            return
        latest = await self._models.version(run.job.owner, VersionReference(model.id))
        known = read_preprocessing(await self._artifacts.fetch(latest.artifact)).features.columns
        if {column.name for column in known} != {column.name for column in task.inputs}:
            message = (
                f"{latest.name} takes other input columns (view {latest.details.view}); predictions with "
                f"'{model.name}' will need those of the new version: name a version or an alias to keep the old ones"
            )
            await run.emit(draft_of(TrainingWarning(message)))

    async def _keep(self, spec: TrainingSpec, model: Model, task: TrainingTask, details: VersionDetails) -> _Made:
        """Makes a version of the worker's output: first its files, then its row, so that no row lacks its files."""
        artifact = version_artifact(model.uid, task.provenance.training_job)
        async with self._artifacts.staged(artifact) as staging:
            await asyncio.to_thread(shutil.copytree, task.output, staging, dirs_exist_ok=True)
        if spec.sweep:
            return _Made("", details)
        size = await asyncio.to_thread(folder_bytes, task.output)
        return _Made((await self._models.add_version(model, details, size, artifact)).name, details)
