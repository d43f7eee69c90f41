"""The process around a worker: what it says to its server, and when it ends.

The server names `main` and runs nothing here, so what only a worker needs is imported inside: TorchMetrics alone brings
seconds of imports.
"""

import contextlib
import gc
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import structlog
import torch

from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import Broke, Failed, Lost, TrainingTask, WorkerMessage
from servicekit.errors import FlareError, Reason, Unavailable

if TYPE_CHECKING:
    from ml_server.training.data_parallel import DataParallel

log = structlog.get_logger()

Join = Callable[[torch.device], "DataParallel"]
"""Makes a worker with this device one of those that train together."""

STOPPED_STATUS = 75  # of a worker that was told to stop, or that lost its server


def main(connection: Connection) -> None:
    """Waits for a task, works on it and sends WorkerMessages; the entry point of the process.

    Ends without a word if the server goes, or closes the pipe, before there is a task.
    """
    gc.freeze()  # collections need not go through all that was loaded before the fork, and copy it by that
    from ml_server.training.worker import StopRequested

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too, but it is the server that ends its workers
    try:
        task: TrainingTask = connection.recv()
    except (EOFError, OSError):
        return
    stop = Stop()
    threading.Thread(target=_listen, args=(connection, stop), daemon=True).start()
    try:
        for message in messages(task, stop):
            connection.send(message)
    except StopRequested:
        os._exit(STOPPED_STATUS)


def messages(task: TrainingTask, stop: Stop, join: Join | None = None) -> Iterator[WorkerMessage]:
    """Works on a task, alone or with others, and says how it goes, also how it failed.

    Raises:
        StopRequested: As was asked.
        LostPeer: Another worker of the training ended before.
    """
    from ml_server.training.data_parallel import LostPeer
    from ml_server.training.faults import out_of_memory
    from ml_server.training.worker import StopRequested, run

    torch.set_num_threads(task.threads)
    try:
        yield from run(task, stop, join)
    except (StopRequested, LostPeer):
        raise
    except FlareError as error:
        yield Failed(error)
    except OSError as error:
        log.warning("worker_files_failed", job=task.provenance.training_job, exc_info=error)
        yield Lost(files_failed(error))
    except Exception as error:
        if told := out_of_memory(error):
            yield Failed(told)
        else:
            yield Broke(traceback.format_exc())


def _listen(connection: Connection, stop: Stop) -> None:
    """Asks the loop to end when the server says so. Ends the process if the job is cancelled, or the server is gone."""
    with contextlib.suppress(EOFError, OSError):
        while (kind := StopKind(connection.recv_bytes().decode())) is not StopKind.CANCEL:
            stop.ask(kind)
    os._exit(STOPPED_STATUS)


def files_failed(error: OSError) -> Unavailable:
    """What a job is told of a disk that takes or gives nothing. Paths are for the log."""
    return Unavailable(
        Reason.DEPENDENCY_UNAVAILABLE,
        f"the server could not write or read the training's files ({error.strerror or type(error).__name__}); its "
        "checkpoints are kept",
    )
