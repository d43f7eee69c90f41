"""The process between a server and a Ray cluster: a driver for one attempt.

Ray ends a driver's process when its cluster goes, so the server is none itself; and whatever a driver started in the
cluster ends with the driver.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ml_server.training.events import TrainingWarning
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.stop import StopKind
from ml_server.training.task import Broke, Failed, Finished, Lost, Told, TrainingTask, WorkerMessage
from ml_server.training.worker_process import STOPPED_STATUS
from servicekit.errors import FlareError

if TYPE_CHECKING:  # Ray is an extra
    from ml_server.training.executors.ray_attempt import RayAttempt

# A worker that takes longer to begin is worth a word.
PATIENCE_SECONDS = 30.0
# For a worker, or Ray, to say more of a loss than that one of its peers saw it.
CAUSE_SECONDS = 10.0


def main(cluster: RayCluster, connection: Connection) -> None:
    """Waits for a task, has the cluster work on it and passes on the WorkerMessages; the entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):  # told once there is a task
        import ray  # noqa: F401  # it takes a second, and there is time now
    try:
        task: TrainingTask = connection.recv()
    except (EOFError, OSError):
        return
    try:
        cluster.connect()
        for message in _messages(cluster, task, connection):
            connection.send(message)
    except FlareError as error:
        connection.send(Lost(error))


def check(cluster: RayCluster, connection: Connection) -> None:
    """Sends None if the cluster can be reached, else why not; the entry point of a process."""
    try:
        cluster.connect()
    except FlareError as error:
        connection.send(error)
    else:
        connection.send(None)


def _messages(cluster: RayCluster, task: TrainingTask, connection: Connection) -> Iterator[WorkerMessage]:
    """What the worker says, up to its last message. The process ends if it stopped because it was told to."""
    from ml_server.training.executors.ray_attempt import RayAttempt, lost
    from ml_server.training.executors.ray_worker import Arrived, PeerLost

    attempt = RayAttempt(cluster, task)
    threading.Thread(target=_pass_on, args=(connection, attempt, task), daemon=True).start()
    message = attempt.receive(PATIENCE_SECONDS)
    if message is None:
        yield Told((TrainingWarning(cluster.late(task.plan.workers, PATIENCE_SECONDS)),))
    while isinstance(message, Told | Arrived | None):
        if isinstance(message, Told):
            yield message
        message = attempt.receive()
    if isinstance(message, PeerLost):
        problem = message.problem
        while isinstance(message, PeerLost | Arrived):  # from the peer itself, or from Ray
            message = attempt.receive(CAUSE_SECONDS)
        message = message or lost("a worker", problem)
    if isinstance(message, Finished | Failed | Broke | Lost):
        yield message
    else:
        os._exit(STOPPED_STATUS)


def _pass_on(connection: Connection, attempt: "RayAttempt", task: TrainingTask) -> None:
    """Asks the workers to stop when the server says so, and ends the process when the server is gone.

    Also if the job is cancelled, or no worker has its place yet and there is nothing to save or to finish.
    """
    with contextlib.suppress(EOFError, OSError):
        while True:
            kind = StopKind(connection.recv_bytes().decode())
            attempt.ask(kind)
            has_something = attempt.has_begun or (kind is StopKind.FINISH and task.logged_epochs)
            if kind is StopKind.CANCEL or not has_something:
                break
    os._exit(STOPPED_STATUS)
