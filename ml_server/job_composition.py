"""Builds what the ML service's jobs need: their stores and followers, and what runs them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ml_server.batch_prediction import jobs as batch_jobs
from ml_server.batch_prediction.scraper import DatasetUploads
from ml_server.batch_prediction.values import METRICS as BATCH_METRICS
from ml_server.batch_prediction.work import BatchPredictionWork
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.registry.store import ModelStore
from ml_server.settings import Settings
from ml_server.sweeps import jobs as sweep_jobs
from ml_server.sweeps.trials import Trials
from ml_server.sweeps.work import SweepWork
from ml_server.tables import batch_predictions, jobs, sweeps
from ml_server.tracking.opening import open_trackers
from ml_server.tracking.tracking import Tracking
from ml_server.training import jobs as training_jobs
from ml_server.training.events import METRICS
from ml_server.training.executors.executor import Executor
from ml_server.training.executors.local import LocalExecutor
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.executors.ray_executor import RayExecutor
from ml_server.training.memory import Memory
from ml_server.training.threads import Threads
from ml_server.training.work import TrainingWork
from ml_server.views.fetched import FetchedViews
from ml_server.views.scraper import ScraperClient
from servicekit.artifacts import ArtifactStore
from servicekit.database import Database
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.runner import JobRunner, Work
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.wakeups import Wakeups
from servicekit.server import Component


class Jobs:
    """The stores of all kinds of jobs and those who follow them: what every process has."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self.wakeups = wakeups
        self.trainings = SqlJobStore(database, jobs, training_jobs.KIND, wakeups)
        self.sweeps = SqlJobStore(database, sweeps, sweep_jobs.KIND, wakeups, graceful_cancel=True)
        self.batch_predictions = SqlJobStore(
            database, batch_predictions, batch_jobs.KIND, wakeups, graceful_cancel=True
        )
        self.training_follower = JobFollower(self.trainings, wakeups, metrics=METRICS)
        self.sweep_follower = JobFollower(self.sweeps, wakeups)
        self.batch_follower = JobFollower(self.batch_predictions, wakeups, metrics=BATCH_METRICS)

    async def needed_by(self, owner: str, model_id: str, version: int | None) -> str:
        """The name of an unfinished job that needs a model or version; empty if none does."""
        return (
            await sweep_jobs.needed_by(self.sweeps, owner, model_id, version)
            or await training_jobs.needed_by(self.trainings, owner, model_id, version)
            or await batch_jobs.needed_by(self.batch_predictions, owner, model_id, version)
        )


@dataclass(frozen=True)
class Workplace:
    """What runs trainings, the folder that both it and this server see, and the cores that each training has."""

    executor: Executor
    shared: Path
    cores: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one that the settings name."""
        if settings.ray_storage is not None and settings.executor == "ray":
            cluster = RayCluster(settings.ray_address, settings.ray_cpus_per_worker, settings.ray_gpus_per_worker)
            executor = RayExecutor(cluster, settings.warm_workers)
            return cls(executor, settings.ray_storage.absolute(), cluster.cpus)
        cores = len(os.sched_getaffinity(0)) // settings.concurrent_jobs
        return cls(LocalExecutor(settings.warm_workers), settings.data_directory.absolute(), cores)


def job_runners(
    settings: Settings,
    jobs: Jobs,
    workplace: Workplace,
    store: ModelStore,
    artifacts: ArtifactStore,
    scraper: ScraperClient,
    fetched: FetchedViews,
    loaded: LoadedVersions,
    uploads: DatasetUploads,
) -> list[Component]:
    """What the first process alone has: runners of all jobs and what they run them with, in the order of their start.

    Drained in reverse: a sweep leaves before the follower of its trials does, and trackings see what the runner writes
    at its end.
    """
    directory, executor = settings.data_directory.absolute(), workplace.executor
    threads = Threads(settings.worker_threads, workplace.cores)
    memory = Memory(settings.worker_memory_bytes, settings.concurrent_jobs)
    work: Work = TrainingWork(
        store, artifacts, scraper, fetched, executor, workplace.shared / "ml-jobs", threads, memory, jobs.trainings
    )
    trackings = _trackings(settings, jobs, directory / "ml-tracking")
    for tracking in trackings:
        work = tracking.of(work)
    runner = JobRunner(
        jobs.trainings,
        jobs.wakeups,
        work,
        name=settings.runner_name,
        concurrency=settings.concurrent_jobs,
        lease_seconds=settings.job_lease_seconds,
        owner_limit=settings.concurrent_jobs_per_person,
        resources=executor.resources,
    )
    trials = Trials(jobs.trainings, jobs.training_follower, artifacts, executor.check)
    sweep_runner = JobRunner(
        jobs.sweeps,
        jobs.wakeups,
        SweepWork(jobs.sweeps, trials, store, artifacts),
        name=settings.runner_name,
        concurrency=settings.concurrent_sweeps,
        lease_seconds=settings.job_lease_seconds,
        graceful_cancel=True,
    )
    batch_runner = JobRunner(
        jobs.batch_predictions,
        jobs.wakeups,
        BatchPredictionWork(store, loaded, scraper, fetched, uploads, directory / "ml-batch-predictions"),
        name=settings.runner_name,
        concurrency=settings.concurrent_batch_predictions,
        lease_seconds=settings.job_lease_seconds,
        graceful_cancel=True,
    )
    return [*trackings, executor, runner, jobs.training_follower, sweep_runner, batch_runner]


def _trackings(settings: Settings, jobs: Jobs, places: Path) -> list[Tracking]:
    trackers = open_trackers(settings.tensorboard_directory, settings.mlflow_tracking_uri, settings.mlflow_experiment)
    return [Tracking(tracker, jobs.trainings, jobs.wakeups, places / tracker.name) for tracker in trackers]
