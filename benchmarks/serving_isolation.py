"""What predictions of one model feel of what the service does for others."""

import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import grpc
from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import grpc_service_pb2_grpc

from benchmarks.figures import Figure
from benchmarks.http2_load import Load
from benchmarks.serving_service import CHANNELS, COLUMNS, ServingService, serving_service
from benchmarks.sizes import Sizes
from tests.made_versions import bundle_file, numbers_version, pixels_version

LOADED_KINDS = {"perceptron": numbers_version(COLUMNS, (512, 480)), "images": pixels_version(CHANNELS)}
LOADED_OF_KIND = 4
LIMIT_MILLISECONDS = 5.0
# Differences between two sides can be none, or less.
LEAST_MILLISECONDS = 0.0001
FLOOD_CLIENTS = 64
# With fewer images a call is so quick that it needs no thread.
FLOOD_ROWS = 32


def load_delay(sizes: Sizes) -> Figure:
    """How much longer the slowest call of a client takes while other models are loaded and unloaded all the time."""
    with serving_service() as service, _others(service) as names:
        service.load(1, sizes.calls // 4)
        found = []
        for _ in range(sizes.runs):
            quiet = service.load(1, sizes.calls)
            found.append(max(_while_loading(service, names, sizes.calls).microseconds) - max(quiet.microseconds))
    delay = max(LEAST_MILLISECONDS, statistics.median(found) / 1000)
    return Figure.of_cost("load_delay", delay, "ms", "what it may be", LIMIT_MILLISECONDS)


def flood_p99(sizes: Sizes) -> Figure:
    """The time that 99 of 100 calls of a client stay below while 64 others flood the CNN, beside twice that without."""
    with serving_service() as service:
        service.load(1, sizes.calls // 4)
        service.load(1, FLOOD_CLIENTS, "cnn", FLOOD_ROWS)
        found = [(_while_flooded(service, sizes.calls), service.load(1, sizes.calls)) for _ in range(sizes.runs)]
    flooded, alone = (statistics.median(each.percentile(99) for each in side) for side in zip(*found, strict=True))
    return Figure.of_cost("flood_p99", flooded, "us", "twice that without", 2 * alone)


@contextmanager
def _others(service: ServingService) -> Iterator[list[str]]:
    """The names of models to load."""
    names = []
    for kind, bundle in LOADED_KINDS.items():
        with tempfile.TemporaryDirectory() as name:
            file = bundle_file(bundle, Path(name))
            for number in range(LOADED_OF_KIND):
                names.append(f"{kind}-{number}")
                service.flare.models.import_(names[-1], file)
    yield names


def _while_loading(service: ServingService, names: list[str], calls: int) -> Load:
    """The calls of a client while these models come and go."""
    metadata = service.services.metadata()
    with grpc.insecure_channel(service.services.ml_address) as channel, ThreadPoolExecutor(1) as pool:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        measured = pool.submit(service.load, 1, calls)
        for name in cycle(names):
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name), metadata=metadata)
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name), metadata=metadata)
            if measured.done():
                return measured.result()
    raise AssertionError("a cycle of models has no end")


def _while_flooded(service: ServingService, calls: int) -> Load:
    """The calls of a client while others flood the CNN."""
    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(service.load, FLOOD_CLIENTS, max(4 * FLOOD_CLIENTS, calls // 4), "cnn", FLOOD_ROWS)
        measured = [service.load(1, calls)]
        while not flooding.done():
            measured.append(service.load(1, calls))
        began = sorted(flooding.result().began)
    # Without the time in which they open their connections.
    meanwhile = [each.within(began[FLOOD_CLIENTS], began[-1]) for each in measured]
    return Load(
        statistics.mean(each.rate for each in meanwhile),
        [began for each in meanwhile for began in each.began],
        [taken for each in meanwhile for taken in each.microseconds],
    )
