"""Several processes of the ML service share a port and an end, and nobody else shares the port."""

import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from servicekit.processes.children import Children
from servicekit.processes.news import News
from servicekit.processes.shared_port import SharedPortServer
from servicekit.settings import ServerSettings
from tests.ml_processes import WAIT_SECONDS, MlProcesses, connections


@pytest.fixture
def metrics_port() -> int:
    """A free port with a free one behind it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.socket() as behind:
            port: int = one.getsockname()[1]
            try:
                behind.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def service(tmp_path: Path, metrics_port: int) -> Iterator[MlProcesses]:
    service = MlProcesses(tmp_path / "data", METRICS_ADDRESS=f"127.0.0.1:{metrics_port}")
    yield service
    service.process.kill()
    service.process.wait()


def test_two_processes_answer_on_the_port_that_the_first_one_got_and_drain_together(
    service: MlProcesses, metrics_port: int
) -> None:
    port = service.log("server_started")["port"]
    child = psutil.Process(service.log("process_started")["pid"])
    assert service.log("server_started")["port"] == port
    for channel in connections(port, {service.process.pid, child.pid}).values():
        channel.close()
    for number in range(2):
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port + number}/metrics") as metrics:
            assert b"process_cpu_seconds_total" in metrics.read()

    service.process.send_signal(signal.SIGTERM)
    assert service.log("process_ended")["status"] == 0
    assert service.process.wait(WAIT_SECONDS) == 0
    assert not child.is_running()


async def test_a_port_that_others_would_share_is_refused() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = ServerSettings(listen_address=f"127.0.0.1:{other.getsockname()[1]}")
        children = Children("nothing", 0, settings, News())
        server = SharedPortServer(_NeverStarted(), settings.listen_address, children, free_seconds=0)
        with pytest.raises(OSError, match=f"can't listen on {settings.listen_address}: is another server there"):
            await server.start()


class _NeverStarted:
    async def start(self) -> int:
        raise AssertionError("a server started on the port of another one")

    async def drain(self) -> None:
        raise AssertionError("nothing started")
