"""Flare's services with imported networks to predict with, the echo beside them, and a load for both."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import flare_client
import grpc
import numpy as np
from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import grpc_service_pb2_grpc
from flare_client.sync.flare import Flare

from benchmarks.http2_load import Load, load
from tests.made_versions import bundle_file, numbers_version, pixels_version
from tests.ml_processes import ml_connections
from tests.services import FlareServices, start_services, stop_services

INFER = "/inference.GRPCInferenceService/ModelInfer"
COLUMNS = 30
HIDDEN_UNITS = (128, 128)
CLIENTS_IN_TURN = 8
CHANNELS = (32, 64)
FEATURES = {"mlp": COLUMNS, "cnn": 784}


@dataclass(frozen=True)
class ServingService:
    """The services, with a perceptron 30-128-128-2 named `mlp` and a CNN for 1x28x28 named `cnn`."""

    services: FlareServices
    flare: Flare

    def headers(self) -> Mapping[str, str]:
        """What a call needs beside its message."""
        return dict(self.services.metadata())

    def load(self, clients: int, calls: int, model: str = "mlp", rows: int = 1) -> Load:
        """A load of calls that each ask for one tensor of prepared features."""
        message = features_request(model, rows)
        before = self._answered(model)
        found = load(self.services.ml_address, INFER, message.SerializeToString(), self.headers(), clients, calls)
        answered = self._answered(model) - before
        if answered != calls:
            raise RuntimeError(f"{answered} of {calls} calls were predictions, the others failed")
        return found

    async def rate_of(self, models: Sequence[str], calls: int) -> float:
        """Calls a second of a few clients in this process that ask these models in turn, for a row at a time."""
        metadata = self.services.metadata()
        names = iter(models[call % len(models)] for call in range(calls))
        template = features_request("mlp", 1)
        async with grpc.aio.insecure_channel(self.services.ml_address) as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)

            async def client() -> None:
                request = pb.ModelInferRequest()
                request.CopyFrom(template)
                for name in names:
                    request.model_name = name
                    await stub.ModelInfer(request, metadata=metadata)

            began = time.perf_counter()
            await asyncio.gather(*(client() for _ in range(CLIENTS_IN_TURN)))
            return calls / (time.perf_counter() - began)

    def _answered(self, model: str) -> int:
        """Predictions of a model so far, by all processes."""
        request, metadata = pb.ModelStatisticsRequest(name=model), self.services.metadata()
        answered = 0
        for channel in ml_connections(self.services).values():
            with channel:
                stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
                (found,) = stub.ModelStatistics(request, metadata=metadata).model_stats
                answered += found.inference_stats.success.count
        return answered


def features_request(model: str, rows: int) -> pb.ModelInferRequest:
    """Asks for predictions of prepared features, raw FP32."""
    features = np.random.default_rng(1).standard_normal((rows, FEATURES[model])).astype(np.float32)
    tensor = pb.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=features.shape)
    return pb.ModelInferRequest(model_name=model, id="1", inputs=[tensor], raw_input_contents=[features.tobytes()])


@contextmanager
def serving_service(**settings: object) -> Iterator[ServingService]:
    """The services with the model. `settings` are FLARE_ML_*, in lower case."""
    variables = {f"FLARE_ML_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, variables):
        services = start_services(Path(name) / "services")
        try:
            with flare_client.connect(
                auth=services.auth_address,
                scraper=services.scraper_address,
                ml=services.ml_address,
                username=services.username,
                password=services.password,
            ) as flare:
                bundles = {"mlp": numbers_version(COLUMNS, HIDDEN_UNITS), "cnn": pixels_version(CHANNELS)}
                for model, bundle in bundles.items():
                    folder = Path(name) / model
                    folder.mkdir()
                    flare.models.import_(model, bundle_file(bundle, folder))
                yield ServingService(services, flare)
        finally:
            stop_services(services)


@contextmanager
def echo_server() -> Iterator[str]:
    """The address of an echo in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.echo_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()
