"""Builds the ML service from its settings: every object once, each given what it needs."""

import os
from functools import partial
from importlib.metadata import version
from pathlib import Path

import grpc
from flare.ml.v1 import (
    batch_prediction_service_pb2,
    batch_prediction_service_pb2_grpc,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    monitoring_service_pb2,
    monitoring_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    sweep_service_pb2,
    sweep_service_pb2_grpc,
    training_service_pb2,
    training_service_pb2_grpc,
)
from flare.open_inference import grpc_service_pb2, grpc_service_pb2_grpc
from prometheus_client import REGISTRY, CollectorRegistry

from ml_server.batch_prediction import jobs as batch_jobs
from ml_server.batch_prediction.jobs import BatchPredictions
from ml_server.batch_prediction.scraper import DatasetUploads
from ml_server.batch_prediction.values import METRICS as BATCH_METRICS
from ml_server.batch_prediction.work import BatchPredictionWork
from ml_server.evaluation.comparer import Comparer
from ml_server.explanation.explainer import Explainer
from ml_server.monitoring.drift_metrics import DriftCollector
from ml_server.monitoring.drift_watch import DriftWatch
from ml_server.monitoring.shadow import Shadows
from ml_server.monitoring.shadow_metrics import ShadowCollector
from ml_server.prediction.batcher import Batcher
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.predictor import Predictor
from ml_server.prediction.repository import Repository
from ml_server.prediction.statistics import Statistics
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.models import Models
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.transfer import Transfer
from ml_server.rpc.batch_prediction_servicer import BatchPredictionServicer
from ml_server.rpc.evaluation_servicer import EvaluationServicer
from ml_server.rpc.inference_servicer import SCOPES, InferenceServicer
from ml_server.rpc.model_servicer import ModelServicer
from ml_server.rpc.monitoring_servicer import MonitoringServicer
from ml_server.rpc.plan_converters import check_plan
from ml_server.rpc.prediction_servicer import PredictionServicer
from ml_server.rpc.sweep_servicer import SweepServicer
from ml_server.rpc.training_servicer import TrainingServicer
from ml_server.settings import Settings
from ml_server.sweeps import jobs as sweep_jobs
from ml_server.sweeps.jobs import SweepJobs
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
from ml_server.training.jobs import TrainingJobs
from ml_server.training.memory import Memory
from ml_server.training.threads import Threads
from ml_server.training.work import TrainingWork
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache, half_of_disk
from ml_server.views.scraper import MESSAGE_BYTES, ScraperClient
from servicekit.artifacts import open_artifacts
from servicekit.database import Database
from servicekit.images.decoding import ImageDecoder
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.runner import JobRunner, Work
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.store import JobStore
from servicekit.jobs.wakeups import Wakeups
from servicekit.readiness import Readiness
from servicekit.server import Registration, RpcServer
from servicekit.tokens import ServiceTokenSource, TokenVerifier


class MlService:
    """The ML service: `prepare`, then start and drain `rpc`, then `close`."""

    def __init__(
        self, settings: Settings, verifier: TokenVerifier | None = None, registry: CollectorRegistry = REGISTRY
    ) -> None:
        """Connects to nothing yet. Without a `verifier`, tokens are checked with the keys of the settings' issuer."""
        directory = settings.data_directory.absolute()
        self._directory = directory
        self._database = Database(settings.database("ml"))
        self._verifier = verifier or TokenVerifier(settings.token_issuer, settings.token_audience, settings.jwks_url)
        self._channel = scraper_channel(settings)
        self._settings = settings
        self._registry = registry

    async def prepare(self) -> None:
        """Brings the database up to date and builds the server. Calls of others may already fail or wait after that."""
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._database.migrate("ml_server:migrations")
        self.rpc = self._build()

    async def close(self) -> None:
        """Lets go of everything; called when the server has stopped."""
        await self._channel.close()
        await self._database.close()

    def _build(self) -> RpcServer:
        settings, directory = self._settings, self._directory
        artifacts = open_artifacts(settings.artifacts("ml"))
        service_token = ServiceTokenSource(settings.token_url, settings.service_identity, settings.secret())
        scraper = ScraperClient(self._channel, service_token.token)
        store = SqlModelStore(self._database)
        wakeups = Wakeups()
        job_store = SqlJobStore(self._database, jobs, training_jobs.KIND, wakeups)
        sweep_store = SqlJobStore(self._database, sweeps, sweep_jobs.KIND, wakeups, graceful_cancel=True)
        batch_store = SqlJobStore(self._database, batch_predictions, batch_jobs.KIND, wakeups, graceful_cancel=True)
        follower = JobFollower(job_store, wakeups, metrics=METRICS)
        needed_by = partial(_needed_by, job_store, sweep_store, batch_store)
        models = Models(store, artifacts, scraper, settings.max_model_parameters, needed_by)
        executor, shared, cores = _executor(settings)
        trainings = TrainingJobs(job_store, store, models, scraper, executor)
        transfer = Transfer(store, models, artifacts, directory / "ml-transfers", settings.max_upload_bytes)
        fetched = FetchedViews(_view_cache(settings, shared / "ml-views"), scraper)
        threads = Threads(settings.worker_threads, cores)
        memory = Memory(settings.worker_memory_bytes, settings.concurrent_jobs)
        work: Work = TrainingWork(
            store, artifacts, scraper, fetched, executor, shared / "ml-jobs", threads, memory, job_store
        )
        trackings = self._trackings(job_store, wakeups)
        for tracking in trackings:
            work = tracking.of(work)
        runner = JobRunner(
            job_store,
            wakeups,
            work,
            name=settings.runner_name,
            concurrency=settings.concurrent_jobs,
            lease_seconds=settings.job_lease_seconds,
            owner_limit=settings.concurrent_jobs_per_person,
            resources=executor.resources,
        )
        sweep_runner = JobRunner(
            sweep_store,
            wakeups,
            SweepWork(sweep_store, Trials(job_store, follower, artifacts, executor.check), store, artifacts),
            name=settings.runner_name,
            concurrency=settings.concurrent_sweeps,
            lease_seconds=settings.job_lease_seconds,
            graceful_cancel=True,
        )
        loaded = LoadedVersions(artifacts, settings.loaded_versions_bytes)
        uploads = DatasetUploads(self._channel, scraper.acting_for)
        batch_runner = JobRunner(
            batch_store,
            wakeups,
            BatchPredictionWork(store, loaded, scraper, fetched, uploads, directory / "ml-batch-predictions"),
            name=settings.runner_name,
            concurrency=settings.concurrent_batch_predictions,
            lease_seconds=settings.job_lease_seconds,
            graceful_cancel=True,
        )
        versions, statistics = KnownVersions(store), Statistics()
        batcher = Batcher(_prediction_threads(settings), settings.waiting_predictions_bytes)
        images = ImageDecoder(settings.max_image_pixels)
        shadows, drift = Shadows(versions, loaded, images), DriftWatch(artifacts)
        self._registry.register(ShadowCollector(shadows))
        self._registry.register(DriftCollector(drift))
        predictor = Predictor(versions, loaded, batcher, images, statistics, [shadows, drift])
        repository = Repository(store, versions, artifacts, loaded, statistics)
        readiness = Readiness(self._database)
        return RpcServer(
            settings,
            _registrations(
                ModelServicer(store, models, transfer),
                TrainingServicer(job_store, trainings, follower),
                SweepServicer(
                    sweep_store,
                    SweepJobs(sweep_store, trainings, job_store, scraper, check_plan),
                    JobFollower(sweep_store, wakeups),
                ),
                PredictionServicer(predictor, Explainer(versions, loaded, images)),
                InferenceServicer(predictor, repository, readiness, version("flare")),
                EvaluationServicer(Comparer(store, loaded, scraper, fetched)),
                MonitoringServicer(store, shadows, versions, drift),
                BatchPredictionServicer(
                    batch_store,
                    BatchPredictions(batch_store, store, artifacts, scraper, scraper),
                    JobFollower(batch_store, wakeups, metrics=BATCH_METRICS),
                ),
            ),
            self._verifier,
            # Drained in reverse: a sweep leaves before the follower of its trials does, and trackings see what the
            # runner writes at its end.
            [
                self._verifier,
                transfer,
                *trackings,
                executor,
                runner,
                follower,
                sweep_runner,
                batch_runner,
                batcher,
                shadows,
                drift,
            ],
            self._registry,
            readiness,
        )

    def _trackings(self, store: JobStore, wakeups: Wakeups) -> list[Tracking]:
        settings, places = self._settings, self._directory / "ml-tracking"
        trackers = open_trackers(
            settings.tensorboard_directory, settings.mlflow_tracking_uri, settings.mlflow_experiment
        )
        return [Tracking(tracker, store, wakeups, places / tracker.name) for tracker in trackers]


async def _needed_by(
    job_store: JobStore,
    sweep_store: JobStore,
    batch_store: JobStore,
    owner: str,
    model_id: str,
    version: int | None,
) -> str:
    return (
        await sweep_jobs.needed_by(sweep_store, owner, model_id, version)
        or await training_jobs.needed_by(job_store, owner, model_id, version)
        or await batch_jobs.needed_by(batch_store, owner, model_id, version)
    )


def _registrations(
    models: ModelServicer,
    training: TrainingServicer,
    sweep: SweepServicer,
    predictions: PredictionServicer,
    inference: InferenceServicer,
    evaluation: EvaluationServicer,
    monitoring: MonitoringServicer,
    batch: BatchPredictionServicer,
) -> list[Registration]:
    return [
        Registration(
            model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
            partial(model_service_pb2_grpc.add_ModelServiceServicer_to_server, models),
        ),
        Registration(
            training_service_pb2.DESCRIPTOR.services_by_name["TrainingService"],
            partial(training_service_pb2_grpc.add_TrainingServiceServicer_to_server, training),
        ),
        Registration(
            sweep_service_pb2.DESCRIPTOR.services_by_name["SweepService"],
            partial(sweep_service_pb2_grpc.add_SweepServiceServicer_to_server, sweep),
        ),
        Registration(
            prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
            partial(prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server, predictions),
        ),
        Registration(
            grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
            partial(grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, inference),
            scopes=SCOPES,
        ),
        Registration(
            evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"],
            partial(evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server, evaluation),
        ),
        Registration(
            monitoring_service_pb2.DESCRIPTOR.services_by_name["MonitoringService"],
            partial(monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server, monitoring),
        ),
        Registration(
            batch_prediction_service_pb2.DESCRIPTOR.services_by_name["BatchPredictionService"],
            partial(batch_prediction_service_pb2_grpc.add_BatchPredictionServiceServicer_to_server, batch),
        ),
    ]


def _view_cache(settings: Settings, root: Path) -> FolderCache:
    size = settings.view_cache_bytes
    return FolderCache(root, half_of_disk(root) if size == "auto" else size)


def _executor(settings: Settings) -> tuple[Executor, Path, int]:
    """What runs trainings, the folder that both it and this server see, and the cores that each training has."""
    if settings.ray_storage is not None and settings.executor == "ray":
        cluster = RayCluster(settings.ray_address, settings.ray_cpus_per_worker, settings.ray_gpus_per_worker)
        return RayExecutor(cluster, settings.warm_workers), settings.ray_storage.absolute(), cluster.cpus
    cores = len(os.sched_getaffinity(0)) // settings.concurrent_jobs
    return LocalExecutor(settings.warm_workers), settings.data_directory.absolute(), cores


def _prediction_threads(settings: Settings) -> int:
    return len(os.sched_getaffinity(0)) if settings.prediction_threads == "auto" else settings.prediction_threads


def scraper_channel(settings: Settings) -> grpc.aio.Channel:
    """The way to the scraper service. One that says nothing any more is given up within a minute."""
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
    ]
    if settings.scraper_ca_file is None:
        return grpc.aio.insecure_channel(settings.scraper_address, options=options)
    credentials = grpc.ssl_channel_credentials(settings.scraper_ca_file.read_bytes())
    return grpc.aio.secure_channel(settings.scraper_address, credentials, options=options)
