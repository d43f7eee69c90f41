"""What runs on a node of a Ray cluster: one worker of one attempt."""

import os
import pickle
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import Lost, TrainingTask, WorkerMessage
from ml_server.training.worker_process import STOPPED_STATUS, messages
from servicekit.errors import Reason, Unavailable

# Messages that may be on their way: the loop does not wait for each to arrive.
UNDER_WAY = 32


@dataclass(frozen=True)
class Arrived:
    """The worker has its place in the cluster, and begins."""

    node: str
    pid: int


class Sender:
    """Sends messages in their order, and waits only if too many are under way."""

    def __init__(self, post: Any) -> None:
        """`post` is the handle of a Post."""
        self._post = post
        self._under_way: deque[Any] = deque()

    def send(self, message: WorkerMessage | Arrived) -> None:
        """Sends a message. Raises RayError if the driver is gone."""
        self._under_way.append(self._post.send.remote(pickle.dumps(message)))
        if len(self._under_way) > UNDER_WAY:
            ray.get(self._under_way.popleft())

    def flush(self) -> None:
        """Waits until all have arrived."""
        ray.get(list(self._under_way))
        self._under_way.clear()


def work(task: TrainingTask, post: Any) -> None:
    """Works on a task and sends what there is to say to `post`, the handle of a Post."""
    from ml_server.training.worker import StopRequested

    sender = Sender(post)
    sender.send(Arrived(_node(), os.getpid()))
    stop = Stop()
    threading.Thread(target=_listen, args=(post, stop), daemon=True).start()
    if missing := _missing(task):
        sender.send(Lost(missing))
    else:
        try:
            for message in messages(task, stop):
                sender.send(message)
        except StopRequested:
            pass
    sender.flush()


def _listen(post: Any, stop: Stop) -> None:
    """Asks the loop to end when the driver says so, and ends the process when the driver is gone."""
    known = 0
    try:
        while True:
            stop.ask(StopKind(ray.get(post.asked.remote(known))))
            known += 1
    except ray.exceptions.RayError:
        os._exit(STOPPED_STATUS)


def _node() -> str:
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def _missing(task: TrainingTask) -> Unavailable | None:
    """What is wrong if this node does not see the server's folder."""
    file = next((file for file in task.files.values() if not file.exists()), None)
    if file is None:
        return None
    return Unavailable(
        Reason.DEPENDENCY_UNAVAILABLE,
        f"node {_node()} of the Ray cluster does not see {_top(file)}: the folder "
        "FLARE_ML_RAY_STORAGE must be there at the same path on all nodes",
    )


def _top(file: Path) -> Path:
    """The outermost folder on the way to a file that is not there."""
    return next(each for each in reversed([file, *file.parents]) if not each.exists())
