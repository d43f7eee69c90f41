"""What runs on a node of a Ray cluster: one worker of one attempt."""

import contextlib
import os
import pickle
import queue
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from torch import distributed

from ml_server.training.data_parallel import DataParallel, LostPeer
from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import Broke, Failed, Lost, TrainingTask, WorkerMessage
from ml_server.training.worker_process import STOPPED_STATUS, Join, messages
from servicekit.errors import Reason, Unavailable

# Messages that may wait to be sent before the loop waits too.
WAITING = 32


@dataclass(frozen=True)
class Arrived:
    """The worker has its place in the cluster, and begins."""

    node: str
    pid: int


@dataclass(frozen=True)
class Stopped:
    """The attempt ended as it was asked to."""


@dataclass(frozen=True)
class PeerLost:
    """The worker could not go on without another one, which may say more."""

    problem: str


RayMessage = WorkerMessage | Arrived | Stopped | PeerLost


class Sender:
    """Sends messages in their order, behind the loop, which waits only if too many pile up.

    Those that wait go together, and the next ones when these have arrived: Ray keeps no order of calls under way.
    """

    def __init__(self, post: Any) -> None:
        """`post` is the handle of a Post."""
        self.post = post
        self._waiting: queue.Queue[bytes] = queue.Queue(WAITING)
        threading.Thread(target=self._deliver, daemon=True).start()

    def send(self, message: RayMessage) -> None:
        """Sends a message."""
        self._waiting.put(pickle.dumps(message))

    def flush(self) -> None:
        """Waits until all have arrived."""
        self._waiting.join()

    def _deliver(self) -> None:
        """Ends the process when the driver is gone."""
        try:
            while True:
                messages = [self._waiting.get()]
                messages += [self._waiting.get() for _ in range(self._waiting.qsize())]
                ray.get(self.post.send.remote(messages))
                for _ in messages:
                    self._waiting.task_done()
        except RayError:
            os._exit(STOPPED_STATUS)


def work(task: TrainingTask, post: Any) -> None:
    """Works on a task alone, and sends what there is to say to `post`, the handle of a Post."""
    _work(task, Sender(post), Stop())


def work_together(config: dict[str, Any]) -> None:
    """Works on `config["task"]` as one of the workers of a TorchTrainer, and sends to `config["post"]`.

    The first worker says what there is to say, the others only why they failed.
    """
    task: TrainingTask = config["task"]
    from ray.train.torch import get_device

    if task.plan.device != "cpu":
        task = replace(task, plan=task.plan.model_copy(update={"device": str(get_device())}))
    stop = Stop()
    _work(task, Sender(config["post"]), stop, partial(DataParallel, stop, task.plan.seed))


def _work(task: TrainingTask, sender: Sender, stop: Stop, join: Join | None = None) -> None:
    from ml_server.training.worker import StopRequested

    leads = join is None or distributed.get_rank() == 0
    sender.send(Arrived(_node(), os.getpid()))
    threading.Thread(target=_listen, args=(sender.post, stop), daemon=True).start()
    try:
        _require_folder(task)
        for message in messages(task, stop, join):
            if leads or isinstance(message, (Failed, Broke)):
                sender.send(message)
    except StopRequested:
        if leads:
            sender.send(Stopped())
    except Unavailable as error:
        sender.send(Lost(error))
    except LostPeer as error:
        sender.send(PeerLost(str(error)))
    sender.flush()


def _listen(post: Any, stop: Stop) -> None:
    """Asks the loop to end when the driver says so. Ends the process if the job is cancelled, or the driver is gone."""
    known = 0
    with contextlib.suppress(RayError):
        while (kind := StopKind(ray.get(post.asked.remote(known)))) is not StopKind.CANCEL:
            stop.ask(kind)
            known += 1
    os._exit(STOPPED_STATUS)


def _node() -> str:
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def _require_folder(task: TrainingTask) -> None:
    """Raises Unavailable if this node does not see the server's folder."""
    root = task.cache.root
    if not root.is_dir():
        outermost = next(each for each in reversed([root, *root.parents]) if not each.exists())
        raise Unavailable(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"node {_node()} of the Ray cluster does not see {outermost}: the folder FLARE_ML_RAY_STORAGE must be "
            "there at the same path on all nodes",
        )
