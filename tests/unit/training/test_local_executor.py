"""A worker that nobody wants any more ends at once, whatever it is doing."""

import asyncio
import os
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import pytest

from ml_server.training import worker_process
from ml_server.training.executors.local import LocalExecutor, _end
from ml_server.training.executors.warm_workers import Worker
from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import TrainingTask
from ml_server.training.worker_process import STOPPED_STATUS
from servicekit.jobs.values import LostAttempt
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture


def _busy_for_ever(connection: Connection) -> None:
    """A worker within one very long step."""
    threading.Thread(target=worker_process._listen, args=(connection, Stop()), daemon=True).start()
    connection.send_bytes(b"busy")
    threading.Event().wait()


def test_a_cancelled_worker_ends_within_a_step_and_is_not_killed() -> None:
    worker = Worker.start(_busy_for_ever)
    assert worker.connection.recv_bytes() == b"busy"
    _end(worker, StopKind.CANCEL)
    assert worker.process.exitcode == STOPPED_STATUS


@dataclass
class Control:
    """What a job's run tells its attempt."""

    finish_requested: asyncio.Event = field(default_factory=asyncio.Event)
    is_abandoned: bool = False


def _with_nothing_to_finish_with(connection: Connection) -> None:
    connection.recv()
    assert connection.recv_bytes() == StopKind.FINISH.encode()
    os._exit(STOPPED_STATUS)


def _stopping_unasked(connection: Connection) -> None:
    connection.recv()
    os._exit(STOPPED_STATUS)


async def test_a_worker_that_has_nothing_to_finish_with_is_not_lost(breast_cancer: TrainingTask) -> None:  # noqa: F811
    executor, control = LocalExecutor(0, _with_nothing_to_finish_with), Control()
    control.finish_requested.set()
    assert [message async for message in executor.run(breast_cancer, control)] == []


async def test_a_worker_that_stops_unasked_is_lost(breast_cancer: TrainingTask) -> None:  # noqa: F811
    executor = LocalExecutor(0, _stopping_unasked)
    with pytest.raises(LostAttempt, match="ended with status 75"):
        [message async for message in executor.run(breast_cancer, Control())]
