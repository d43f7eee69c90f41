"""What a token, the contract's rules and metrics add to a call: an echo with and without Flare's server around it.

As a program it serves: `python -m benchmarks.call_overhead intercepted` prints its port and a token, `bare` the former.
"""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvloop
from flare.open_inference import grpc_service_pb2 as pb
from prometheus_client import CollectorRegistry

from benchmarks.figures import Figure
from benchmarks.http2_load import load
from benchmarks.peers.echo_server import bare_server, handler
from benchmarks.serving_service import INFER, features_request
from benchmarks.sizes import Sizes
from ml_server.rpc.inference_servicer import SCOPES
from servicekit.logs import configure_logs
from servicekit.server import Registration, RpcServer
from servicekit.settings import ServerSettings
from tests.tokens import TokenIssuer

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
CLIENTS = 32
LIMIT_MICROSECONDS = 40.0


def call_overhead(sizes: Sizes) -> Figure:
    """Microseconds that a call of 32 clients takes longer with a verified token, rules and metrics."""
    message = features_request("mlp", 1).SerializeToString()
    with _server("intercepted") as (ours, token), _server("bare") as (theirs, _):
        headers = {"authorization": f"Bearer {token}"}
        added = []
        for run in range(sizes.runs + 1):
            calls = sizes.calls if run else sizes.calls // 4  # the first one warms up
            bare, intercepted = (load(each, INFER, message, headers, CLIENTS, calls).rate for each in (theirs, ours))
            added.append(1e6 / intercepted - 1e6 / bare)
    # Below a microsecond noise alone is left.
    return Figure.of_cost(
        "call_overhead", max(1.0, statistics.median(added[1:])), "us", "its limit", LIMIT_MICROSECONDS
    )


@contextmanager
def _server(kind: str) -> Iterator[tuple[str, str]]:
    """The address of an echo in a process of its own, and a token for it."""
    command = [sys.executable, "-m", "benchmarks.call_overhead", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port, _, token = process.stdout.readline().strip().partition(" ")
            yield f"127.0.0.1:{port}", token
        finally:
            process.kill()


async def _serve(kind: str) -> None:
    if kind == "bare":
        server, port = bare_server()
        await server.start()
        print(port, flush=True)
        await server.wait_for_termination()
    settings, issuer = ServerSettings(listen_address="127.0.0.1:0", log_level="error"), TokenIssuer()
    configure_logs(settings, "echo")
    services = [Registration(SERVICE, _add_echo, scopes=SCOPES)]
    rpc = RpcServer(settings, services, issuer.verifier, registry=CollectorRegistry())
    print(await rpc.start(), issuer.token(), flush=True)
    await asyncio.Event().wait()


def _add_echo(services: Any) -> None:
    services.add_registered_method_handlers(SERVICE.full_name, {"ModelInfer": handler()})


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
