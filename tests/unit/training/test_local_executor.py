"""A worker that nobody wants any more ends at once, whatever it is doing."""

import threading
from multiprocessing.connection import Connection

from ml_server.training import worker_process
from ml_server.training.executors.local import _end
from ml_server.training.executors.warm_workers import Worker
from ml_server.training.stop import Stop, StopKind
from ml_server.training.worker_process import STOPPED_STATUS


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
