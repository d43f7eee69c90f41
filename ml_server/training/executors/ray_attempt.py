"""An attempt at a training in a Ray cluster, as its driver holds it."""

import pickle
import threading
import uuid
from collections import deque
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ml_server.training.executors import ray_worker
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.executors.ray_post import Post
from ml_server.training.executors.ray_worker import Arrived, RayMessage, Stopped
from ml_server.training.executors.warm_workers import ALLOCATOR
from ml_server.training.stop import StopKind
from ml_server.training.task import Lost, TrainingTask
from servicekit.errors import Reason, Unavailable

ASK_SECONDS = 1.0
# Of what Ray says about a loss: it quotes whole logs.
CAUSE_CHARACTERS = 300


class RayAttempt:
    """A worker at a task, somewhere in the cluster, or several, and the post between them and this process.

    Ray never starts workers anew: that is a new attempt, which the server counts and tells of.
    """

    def __init__(self, cluster: RayCluster, task: TrainingTask) -> None:
        """Asks the cluster for a place; this process is its driver already."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._post: Any = ray.remote(Post).options(num_cpus=0, scheduling_strategy=here).remote()
        self._next: Any = None
        self._received: deque[bytes] = deque()
        self._node = ""
        self._cluster = cluster
        self._task = task
        threading.Thread(target=self._wait, daemon=True).start()

    def receive(self, seconds: float | None = None) -> RayMessage | None:
        """The next message; None if there is none in so many seconds."""
        try:
            while not self._received:
                self._next = self._next or self._post.receive.remote()
                if not ray.wait([self._next], timeout=seconds)[0]:
                    return None
                self._received += ray.get(self._next)
                self._next = None
        except RayError as error:
            return self._lost(error)
        message: RayMessage = pickle.loads(self._received.popleft())  # noqa: S301  # from our own worker
        if isinstance(message, Arrived):
            self._node = message.node
        return message

    @property
    def has_begun(self) -> bool:
        """True once a worker has its place in the cluster."""
        return bool(self._node)

    def ask(self, kind: StopKind) -> None:
        """Asks the workers to stop, and waits a moment until that is on its way."""
        ray.wait([self._post.ask.remote(kind.value)], timeout=ASK_SECONDS)

    def _wait(self) -> None:
        """Has the task worked on, and says when no worker is left: they stopped, or were lost."""
        last: RayMessage = Stopped()
        try:
            if self._task.plan.workers == 1:
                ray.get(self._alone())
            else:
                self._together()
        except Exception as error:  # those of Ray Train have no common class
            last = self._lost(error)
        self._post.send.remote([pickle.dumps(last)])

    def _alone(self) -> Any:
        place = ray.remote(
            num_cpus=self._cluster.cpus,
            num_gpus=self._cluster.gpus,
            max_retries=0,
            max_calls=1,
            runtime_env={"env_vars": ALLOCATOR},
        )
        return place(ray_worker.work).remote(self._task, self._post)

    def _together(self) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpus = self._cluster.gpus
        # The types of both are those of an older version of Ray Train, which has not all of these parameters.
        failures = FailureConfig(max_failures=0, max_preemption_failures=0)  # type: ignore[call-arg]
        run = RunConfig(  # type: ignore[call-arg]
            name=uuid.uuid4().hex,
            storage_path=str(self._task.checkpoints.parent / "ray"),
            failure_config=failures,
            worker_runtime_env={"env_vars": ALLOCATOR},
        )
        TorchTrainer(
            ray_worker.work_together,
            train_loop_config={"task": self._task, "post": self._post},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=self._task.plan.workers,
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": self._cluster.cpus, "GPU": gpus},
            ),
            run_config=run,
        ).fit()

    def _lost(self, error: Exception) -> Lost:
        what = f"the worker on node {self._node}" if self._task.plan.workers == 1 else "a worker"
        return lost(what, " ".join(str(error).split())[:CAUSE_CHARACTERS])


def lost(what: str, problem: str) -> Lost:
    """The message of an attempt whose workers did not end by themselves."""
    return Lost(Unavailable(Reason.DEPENDENCY_UNAVAILABLE, f"{what} of the Ray cluster was lost: {problem}"))
