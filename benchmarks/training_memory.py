"""What a worker costs that waits for a training."""

import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from tests.services import start_services, stop_services

STEADY_SECONDS = 2.0
MEGABYTE = 10**6
# What the ML service has its workers load before they are forked.
LOADED = "ml_server.training.worker"


def warm_worker_memory(_: Sizes) -> Figure:
    """Memory that a waiting worker of the ML service shares with no other process, once it no longer changes."""
    with tempfile.TemporaryDirectory() as name:
        services = start_services(Path(name) / "data")
        try:
            before, now = 0, _private_bytes(services.process.pid)
            while not now or now != before:
                time.sleep(STEADY_SECONDS)
                before, now = now, _private_bytes(services.process.pid)
        finally:
            stop_services(services)
    return Figure.of_cost("warm_worker_memory", now / MEGABYTE, "MB", "the limit", 60)


def _private_bytes(services: int) -> int:
    """Of the worker; 0 while there is none. It has the command line of the process that it was forked from."""
    for process in psutil.Process(services).children(recursive=True):
        parent = process.parent()
        command = process.cmdline()
        if parent is not None and parent.cmdline() == command and any(LOADED in each for each in command):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
    return 0
