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

from ml_server.batch_prediction.jobs import BatchPredictions
from ml_server.batch_prediction.scraper import DatasetUploads
from ml_server.evaluation.comparer import Comparer
from ml_server.explanation.explainer import Explainer
from ml_server.job_composition import Jobs, Workplace, job_runners
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
from ml_server.registry.shared_store import shared_store
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
from ml_server.sweeps.jobs import SweepJobs
from ml_server.training.jobs import TrainingJobs
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache, half_of_disk
from ml_server.views.scraper import MESSAGE_BYTES, ScraperClient
from servicekit.artifacts import open_artifacts
from servicekit.database import Database
from servicekit.images.decoding import ImageDecoder
from servicekit.processes.children import Children
from servicekit.processes.first_process import FirstProcess
from servicekit.processes.news import News
from servicekit.processes.shared_port import SharedPortServer
from servicekit.processes.shared_wakeups import shared_wakeups
from servicekit.readiness import Readiness
from servicekit.server import Component, Registration, RpcServer, Server
from servicekit.tokens import ServiceTokenSource, TokenVerifier


class MlService:
    """The ML service, or a process of it: `prepare`, then start and drain `rpc`, then `close`."""

    def __init__(
        self,
        settings: Settings,
        verifier: TokenVerifier | None = None,
        registry: CollectorRegistry = REGISTRY,
        number: int = 0,
    ) -> None:
        """Connects to nothing yet. Without a `verifier`, tokens are checked with the keys of the settings' issuer.

        `number` 0 is the first process, which runs the jobs and starts the others; those with another one answer calls.
        """
        directory = settings.data_directory.absolute()
        self._directory = directory
        self._database = Database(settings.database("ml"))
        self._verifier = verifier or TokenVerifier(settings.token_issuer, settings.token_audience, settings.jwks_url)
        self._channel = scraper_channel(settings)
        self._settings = settings
        self._registry = registry
        self._number = number
        self._news = News()
        self._batcher = Batcher(_prediction_threads(settings), settings.waiting_predictions_bytes)

    async def prepare(self) -> None:
        """Brings the database up to date and builds the server. Calls of others may already fail or wait after that."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._number == 0:
            await self._database.migrate("ml_server:migrations")
        self.rpc: Server = self._on_its_port(self._build())

    async def close(self) -> None:
        """Lets go of everything; called when the server has stopped."""
        self._batcher.close()
        await self._channel.close()
        await self._database.close()

    def _on_its_port(self, server: RpcServer) -> Server:
        settings = self._settings
        if self._number or settings.processes == 1:
            return server
        children = Children("ml_server", settings.processes - 1, settings, self._news)
        return SharedPortServer(server, settings.listen_address, children)

    def _build(self) -> RpcServer:
        settings = self._settings
        artifacts = open_artifacts(settings.artifacts("ml"))
        service_token = ServiceTokenSource(settings.token_url, settings.service_identity, settings.secret())
        scraper = ScraperClient(self._channel, service_token.token)
        store = shared_store(self._database, self._news)
        jobs = Jobs(self._database, shared_wakeups(self._news))
        models = Models(store, artifacts, scraper, settings.max_model_parameters, jobs.needed_by)
        workplace = Workplace.of(settings)
        trainings = TrainingJobs(jobs.trainings, store, models, scraper, workplace.executor)
        transfer = Transfer(store, models, artifacts, self._transfers(), settings.max_upload_bytes)
        fetched = FetchedViews(_view_cache(settings, workplace.shared / "ml-views"), scraper)
        loaded = LoadedVersions(artifacts, settings.loaded_versions_bytes)
        versions, statistics = KnownVersions(store), Statistics()
        images = ImageDecoder(settings.max_image_pixels)
        shadows, drift = Shadows(versions, loaded, images), DriftWatch(artifacts)
        self._registry.register(ShadowCollector(shadows))
        self._registry.register(DriftCollector(drift))
        predictor = Predictor(versions, loaded, self._batcher, images, statistics, [shadows, drift])
        repository = Repository(store, versions, artifacts, loaded, statistics)
        readiness = Readiness(self._database)
        if self._number:
            working: list[Component] = [FirstProcess(self._news), jobs.training_follower]
        else:
            uploads = DatasetUploads(self._channel, scraper.acting_for)
            working = job_runners(settings, jobs, workplace, store, artifacts, scraper, fetched, loaded, uploads)
        return RpcServer(
            settings,
            _registrations(
                ModelServicer(store, models, transfer),
                TrainingServicer(jobs.trainings, trainings, jobs.training_follower),
                SweepServicer(
                    jobs.sweeps,
                    SweepJobs(jobs.sweeps, trainings, jobs.trainings, scraper, check_plan),
                    jobs.sweep_follower,
                ),
                PredictionServicer(
                    predictor,
                    Explainer(versions, loaded, images, settings.max_message_bytes),
                    settings.max_message_bytes,
                ),
                InferenceServicer(predictor, repository, readiness, version("flare"), settings.max_message_bytes),
                EvaluationServicer(Comparer(store, loaded, scraper, fetched)),
                MonitoringServicer(store, shadows, versions, drift),
                BatchPredictionServicer(
                    jobs.batch_predictions,
                    BatchPredictions(jobs.batch_predictions, store, artifacts, scraper, scraper),
                    jobs.batch_follower,
                ),
            ),
            self._verifier,
            [self._verifier, transfer, *working, shadows, drift],
            self._registry,
            readiness,
            shares_port=settings.processes > 1,
        )

    def _transfers(self) -> Path:
        """The scratch folder of this process; the first one removes those of all before it starts others."""
        folder = self._directory / "ml-transfers"
        return folder / f"process-{self._number}" if self._number else folder


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
            codecs=inference.codecs,
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


def _prediction_threads(settings: Settings) -> int:
    if settings.prediction_threads != "auto":
        return settings.prediction_threads
    return max(1, len(os.sched_getaffinity(0)) // settings.processes)


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
