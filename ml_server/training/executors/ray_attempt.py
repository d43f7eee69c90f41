"""An attempt at a training in a Ray cluster, as its driver holds it."""

import pickle
import threading
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ml_server.training.executors import ray_worker
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.executors.ray_post import Post
from ml_server.training.executors.ray_worker import Arrived
from ml_server.training.executors.warm_workers import ALLOCATOR
from ml_server.training.stop import StopKind
from ml_server.training.task import Lost, TrainingTask, WorkerMessage
from servicekit.errors import Reason, Unavailable


class RayAttempt:
    """A worker at a task, somewhere in the cluster, and the post between it and this process.

    The worker is never started anew by Ray: that is a new attempt, which the server counts and tells of.
    """

    def __init__(self, cluster: RayCluster, task: TrainingTask) -> None:
        """Asks the cluster for a place; this process is its driver already."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._post: Any = ray.remote(Post).options(num_cpus=0, scheduling_strategy=here).remote()
        self._next: Any = None
        self._where = "a node"
        place = ray.remote(
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
            max_retries=0,
            max_calls=1,
            runtime_env={"env_vars": ALLOCATOR},
        )
        self._worker: Any = place(ray_worker.work).remote(task, self._post)
        threading.Thread(target=self._wait, daemon=True).start()

    def receive(self, seconds: float | None = None) -> WorkerMessage | Arrived | None:
        """The next message; None if the worker ended without a last one, or if none comes in so many seconds."""
        self._next = self._next or self._post.receive.remote()
        try:
            if not ray.wait([self._next], timeout=seconds)[0]:
                return None
            received, self._next = ray.get(self._next), None
        except RayError as error:
            return self._lost(error)
        message: WorkerMessage | Arrived | None = None if received is None else pickle.loads(received)  # noqa: S301
        if isinstance(message, Arrived):
            self._where = f"node {message.node}"
        return message

    def ask(self, kind: StopKind) -> None:
        """Asks the worker to stop."""
        self._post.ask.remote(kind.value)

    def _wait(self) -> None:
        """Says when the worker has ended, and if it was lost, why."""
        last = None
        try:
            ray.get(self._worker)
        except RayError as error:
            last = pickle.dumps(self._lost(error))
        self._post.send.remote(last)

    def _lost(self, error: RayError) -> Lost:
        cause = str(error).strip().splitlines()[0]
        message = f"the worker on {self._where} of the Ray cluster was lost: {cause}"
        return Lost(Unavailable(Reason.DEPENDENCY_UNAVAILABLE, message))
