"""Processes of the ML service that share a port, and connections to the one that a test means."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.services import FlareServices, service_process

WAIT_SECONDS = 60
# Each connection goes to one of the processes by chance.
CONNECTIONS = 60


class MlProcesses:
    """`python -m ml_server` with two processes on a free port, and what they log."""

    def __init__(self, directory: Path, **others: str) -> None:
        """`others` are further settings, in upper case."""
        settings = {**others, "PROCESSES": "2", "LISTEN_ADDRESS": "127.0.0.1:0", "WARM_WORKERS": "0"}
        settings |= {"DATA_DIRECTORY": str(directory), "DRAIN_SECONDS": "5"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ml_server"],
            env={**os.environ, **{f"FLARE_ML_{name}": value for name, value in settings.items()}},
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self, event: str) -> dict[str, Any]:
        """The next entry of an event."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if line.startswith("{") and (entry := json.loads(line))["event"] == event:
                return dict(entry)
        raise AssertionError(f"no '{event}' in:\n{''.join(lines)}")


def wait_until_listening(process: psutil.Process, port: int) -> None:
    """Returns when a process listens on a port."""
    until = time.monotonic() + WAIT_SECONDS
    while not any(
        each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections("tcp")
    ):
        assert time.monotonic() < until, f"{process} does not listen on port {port}"
        time.sleep(0.05)


def ml_connections(services: FlareServices) -> dict[int, grpc.Channel]:
    """A connection to each process of the ML service, by its id; the first process first."""
    first = service_process(services, "ml_server")
    others = [each for each in first.children() if "--beside" in each.cmdline()]
    port = int(services.ml_address.rsplit(":", 1)[1])
    for other in others:
        wait_until_listening(other, port)
    pids = [first.pid, *(other.pid for other in others)]
    found = connections(port, set(pids))
    return {pid: found[pid] for pid in pids}


def connections(port: int, processes: set[int]) -> dict[int, grpc.Channel]:
    """A connection to each of these processes, by their ids. All of them are to answer on the port."""
    found: dict[int, grpc.Channel] = {}
    for _ in range(CONNECTIONS):
        channel, pid = _connected(port, processes)
        if pid in found:
            channel.close()
        else:
            found[pid] = channel
        if len(found) == len(processes):
            return found
    raise AssertionError(f"only {set(found)} of {processes} answered {CONNECTIONS} connections to port {port}")


def _connected(port: int, processes: set[int]) -> tuple[grpc.Channel, int]:
    """A new connection, and the process at its other end."""
    before = _own_ports(port)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    health: Any = health_pb2_grpc.HealthStub(channel)  # the stubs know half of it
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    (own,) = _own_ports(port) - before
    (pid,) = (
        pid
        for pid in processes
        for each in psutil.Process(pid).net_connections("tcp")
        if each.raddr and each.raddr.port == own and each.laddr.port == port
    )
    return channel, pid


def _own_ports(port: int) -> set[int]:
    """The ports here of our connections to a port."""
    return {
        each.laddr.port
        for each in psutil.Process().net_connections("tcp")
        if each.raddr and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
    }
