"""`python -m servicekit.probe ADDRESS`: whether a server is healthy, for containers and scripts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def problem(address: str, ca_file: Path | None, timeout_seconds: float) -> str | None:
    """What keeps the server at `address` from being healthy; None if it is. `ca_file` (PEM) asks for TLS."""
    options = [("grpc.enable_http_proxy", 0)]
    if ca_file is None:
        channel = grpc.insecure_channel(address, options)
    else:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_file.read_bytes()), options)
    with channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # the stubs lack it
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.RpcError as error:
            return str(error.details())
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the server is healthy, otherwise 1 after a line that says why."""
    parser = argparse.ArgumentParser(prog="python -m servicekit.probe", description="Asks a server for its health.")
    parser.add_argument("address", help="host:port of the gRPC server")
    parser.add_argument("--ca-file", type=Path, help="PEM file to check the server's certificate with; asks for TLS")
    parser.add_argument("--timeout-seconds", type=float, default=3.0, help="how long the answer may take")
    given = parser.parse_args(arguments)
    found = problem(given.address, given.ca_file, given.timeout_seconds)
    if found is None:
        return 0
    print(f"{given.address} is not healthy: {found}", file=sys.stderr)  # noqa: T201  # a command's answer
    return 1


if __name__ == "__main__":
    sys.exit(main())
