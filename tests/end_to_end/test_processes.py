"""Two processes of the ML service on one port: jobs and models are the same over any connection."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import flare_client
import grpc
import pytest
from flare.common.v1 import job_pb2
from flare.ml.v1 import training_job_pb2, training_service_pb2
from flare.ml.v1.training_service_pb2_grpc import TrainingServiceStub
from flare.open_inference import grpc_service_pb2
from flare.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from flare_client.plans import training_plan
from flare_client.sync.flare import Flare

from tests.made_versions import bundle_file, numbers_version
from tests.ml_processes import ml_connections
from tests.services import FlareServices, start_services, stop_services

Metadata = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareServices]:
    with mock.patch.dict(os.environ, {"FLARE_ML_PROCESSES": "2"}):
        services = start_services(tmp_path_factory.mktemp("processes") / "data")
    yield services
    stop_services(services)


@pytest.fixture(scope="module")
def channels(services: FlareServices) -> Iterator[list[grpc.Channel]]:
    """One to the first process, and one to the other."""
    first, second = ml_connections(services).values()
    yield [first, second]
    for channel in (first, second):
        channel.close()


@pytest.fixture(scope="module")
def flare(services: FlareServices) -> Iterator[Flare]:
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        yield flare


@pytest.fixture(scope="module")
def view(flare: Flare) -> str:
    flare.datasets.import_("iris", source="samples", dataset_id="iris").wait()
    return flare.views.create("iris", target="species", seed=1, view_id="main").name


def _created(flare: Flare, channel: grpc.Channel, view: str, model: str, epochs: int, metadata: Metadata) -> str:
    """A training of a fresh model, asked for over a connection."""
    flare.models.create(model, flare_client.mlp([8]), view=view)
    job = training_job_pb2.TrainingJob(model=f"models/{model}", view=view, plan=training_plan({"epochs": epochs}))
    request = training_service_pb2.CreateTrainingJobRequest(training_job=job)
    return TrainingServiceStub(channel).CreateTrainingJob(request, metadata=metadata).name


def _watched(channel: grpc.Channel, name: str, metadata: Metadata) -> Iterator[training_job_pb2.TrainingEvent]:
    request = training_service_pb2.WatchTrainingJobRequest(name=name)
    for response in TrainingServiceStub(channel).WatchTrainingJob(request, metadata=metadata):
        if response.HasField("event"):
            yield response.event


def test_a_job_created_over_any_connection_is_watched_over_all(
    flare: Flare, services: FlareServices, channels: list[grpc.Channel], view: str
) -> None:
    metadata = services.metadata()
    for number, channel in enumerate(channels):
        name = _created(flare, channel, view, f"any-{number}", 3, metadata)
        watched = [list(_watched(each, name, metadata)) for each in reversed(channels)]
        assert watched[0] == watched[1]
        assert sum(event.HasField("epoch_finished") for event in watched[0]) == 3
        assert watched[0][-1].state_changed.state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_job_is_cancelled_over_another_connection_than_it_is_watched(
    flare: Flare, services: FlareServices, channels: list[grpc.Channel], view: str
) -> None:
    first, second = channels
    metadata = services.metadata()
    name = _created(flare, second, view, "cancelled", 100_000, metadata)
    events = _watched(first, name, metadata)
    next(event for event in events if event.HasField("epoch_finished"))
    request = training_service_pb2.CancelTrainingJobRequest(name=name)
    TrainingServiceStub(second).CancelTrainingJob(request, metadata=metadata)
    *_, last = events
    assert last.state_changed.state == job_pb2.JOB_STATE_CANCELLED


def test_each_process_predicts_and_counts_what_it_was_asked(
    flare: Flare, services: FlareServices, channels: list[grpc.Channel], tmp_path: Path
) -> None:
    flare.models.import_("numbers", bundle_file(numbers_version(4, (8,)), tmp_path))
    tensor = grpc_service_pb2.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend([0.1, 0.2, 0.3, 0.4])
    request = grpc_service_pb2.ModelInferRequest(model_name="numbers", inputs=[tensor])
    metadata = services.metadata()
    stubs = [GRPCInferenceServiceStub(channel) for channel in channels]
    answers = [stub.ModelInfer(request, metadata=metadata) for stub in stubs for _ in range(2)]
    assert all(answer.outputs == answers[0].outputs for answer in answers)
    for stub in stubs:
        asked = grpc_service_pb2.ModelStatisticsRequest(name="numbers")
        (found,) = stub.ModelStatistics(asked, metadata=metadata).model_stats
        assert found.inference_stats.success.count == 2
