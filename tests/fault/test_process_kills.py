"""Processes of the ML service are killed: one comes back, all end with the first."""

import signal
from pathlib import Path

import psutil
import pytest

from tests.ml_processes import WAIT_SECONDS, MlProcesses, connections

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


def test_a_process_that_is_killed_comes_back_and_ends_when_the_first_is_killed(tmp_path: Path) -> None:
    service = MlProcesses(tmp_path / "data")
    try:
        port = service.log("server_started")["port"]
        killed = psutil.Process(service.log("process_started")["pid"])
        service.log("server_started")
        killed.kill()
        ended = service.log("process_ended")
        assert (ended["pid"], ended["status"]) == (killed.pid, -signal.SIGKILL)

        child = psutil.Process(service.log("process_started")["pid"])
        service.log("server_started")
        for channel in connections(port, {service.process.pid, child.pid}).values():
            channel.close()
    finally:
        service.process.kill()
        service.process.wait()
    child.wait(WAIT_SECONDS)
