"""Calls a second of predictions through the running service, beside a server that does nothing."""

import asyncio
import statistics
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.http2_load import load
from benchmarks.serving_peers import Peer, mlserver, torchserve
from benchmarks.serving_service import COLUMNS, INFER, echo_server, features_request, serving_service
from benchmarks.sizes import Sizes
from tests.made_versions import bundle_file, numbers_version

LARGER_UNITS = (512, 480)
ECHO = "a bare grpc.aio server that answers each call alike"


def infer_c1(sizes: Sizes) -> Figure:
    """One client that asks for a row at a time, with a token, checks and metrics."""
    return _beside_echo("infer_c1", 1, sizes)


def infer_c32(sizes: Sizes) -> Figure:
    """32 clients of that kind at a time."""
    return _beside_echo("infer_c32", 32, sizes)


def infer_c64(sizes: Sizes) -> Figure:
    """64 of them."""
    return _beside_echo("infer_c64", 64, sizes)


def infer_c32_p99(sizes: Sizes) -> Figure:
    """The time that 99 of 100 calls of 32 clients stay below, beside twice that of half of them."""
    with serving_service() as service:
        service.load(32, sizes.calls // 4)
        found = [service.load(32, sizes.calls) for _ in range(sizes.runs)]
    p50, p99 = (statistics.median(each.percentile(share) for each in found) for share in (50, 99))
    return Figure.of_cost("infer_c32_p99", p99, "us", "twice the median", 2 * p50)


def infer_c32_vs_mlserver(sizes: Sizes) -> Figure:
    """32 clients that ask for a row at a time, beside MLServer."""
    return _beside("infer_c32_vs_mlserver", "MLServer", mlserver(), "mlp", 1, 32, sizes.calls, sizes)


def cnn32_vs_mlserver(sizes: Sizes) -> Figure:
    """Two clients that send 32 images 1x28x28 a call, beside MLServer with the eager network."""
    return _beside("cnn32_vs_mlserver", "MLServer", mlserver(), "cnn", 32, 2, sizes.image_calls, sizes)


def cnn32_vs_torchserve(sizes: Sizes) -> Figure:
    """The same beside TorchServe with the eager network, one worker."""
    return _beside("cnn32_vs_torchserve", "TorchServe", torchserve(1), "cnn", 32, 2, sizes.image_calls, sizes)


def infer_c32_vs_torchserve(sizes: Sizes) -> Figure:
    """32 clients that ask for a row at a time, beside TorchServe that makes batches of their calls."""
    name = "TorchServe with batches"
    return _beside("infer_c32_vs_torchserve", name, torchserve(32), "mlp", 1, 32, sizes.calls, sizes)


def infer_2p_c32_vs_torchserve(sizes: Sizes) -> Figure:
    """The same of a service with two processes."""
    return _two_processes("infer_2p_c32_vs_torchserve", 32, sizes)


def infer_2p_c64_vs_torchserve(sizes: Sizes) -> Figure:
    """64 clients, beside TorchServe that makes batches of up to 64."""
    return _two_processes("infer_2p_c64_vs_torchserve", 64, sizes)


def many_models(sizes: Sizes) -> Figure:
    """A client that asks 100 models of 1 MB in turn, beside one that asks a single one of them."""
    bundle = numbers_version(COLUMNS, LARGER_UNITS)
    names = [f"larger-{number}" for number in range(sizes.models)]
    with serving_service() as service, tempfile.TemporaryDirectory() as name:
        file = bundle_file(bundle, Path(name))
        for each in names:
            service.flare.models.import_(each, file)
        rates = [
            (asyncio.run(service.rate_of(names, sizes.calls)), asyncio.run(service.rate_of(names[:1], sizes.calls)))
            for _ in range(sizes.runs + 1)
        ]
    many, one = (statistics.median(side) for side in zip(*rates[1:], strict=True))  # the first one loads them
    return Figure.of_rate("many_models", many, "calls/s", "a single one of them", one)


def _beside(
    figure: str,
    name: str,
    peer: AbstractContextManager[Peer],
    model: str,
    rows: int,
    clients: int,
    calls: int,
    sizes: Sizes,
    processes: int = 1,
) -> Figure:
    request = features_request(model, rows)
    with serving_service(processes=processes) as service, peer as other:
        ours, theirs = [], []
        for run in range(sizes.runs + 1):
            count = max(clients, calls if run else calls // 4)  # the first one warms up
            theirs.append(other.load(request, clients, count).rate)
            ours.append(service.load(clients, count, model, rows).rate)
    return Figure.of_rate(figure, statistics.median(ours[1:]), "calls/s", name, statistics.median(theirs[1:]))


def _two_processes(figure: str, clients: int, sizes: Sizes) -> Figure:
    name = "TorchServe with batches"
    return _beside(figure, name, torchserve(clients), "mlp", 1, clients, sizes.calls, sizes, processes=2)


def _beside_echo(figure: str, clients: int, sizes: Sizes) -> Figure:
    message = features_request("mlp", 1).SerializeToString()
    with serving_service() as service, echo_server() as echo:
        ours, theirs = [], []
        for run in range(sizes.runs + 1):
            calls = sizes.calls if run else sizes.calls // 4  # the first one warms up
            theirs.append(load(echo, INFER, message, service.headers(), clients, calls).rate)
            ours.append(service.load(clients, calls).rate)
    return Figure.of_rate(figure, statistics.median(ours[1:]), "calls/s", ECHO, statistics.median(theirs[1:]))
