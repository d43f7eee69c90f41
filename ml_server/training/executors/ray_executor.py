"""Runs tasks on a Ray cluster."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import structlog
import torch

from ml_server.training.devices import check_device, no_such_device
from ml_server.training.executors import ray_driver
from ml_server.training.executors.executor import Control
from ml_server.training.executors.local import LocalExecutor
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.executors.warm_workers import Worker
from ml_server.training.plans import TrainingPlan
from ml_server.training.task import TrainingTask, WorkerMessage
from servicekit.errors import FlareError, InvalidArgument, Reason
from servicekit.files import staged_directory
from servicekit.jobs.resources import Resources

log = structlog.get_logger()


class RayExecutor:
    """One process of this machine for each task, which hands it to the cluster and listens.

    Rows and checkpoints of a task must be where the cluster's nodes see them.
    """

    def __init__(self, cluster: RayCluster, warm_drivers: int = 1) -> None:
        """`warm_drivers` is how many processes wait for a task."""
        self._cluster = cluster
        self.resources = Resources()
        self._drivers = LocalExecutor(warm_drivers, partial(ray_driver.main, cluster))

    async def start(self) -> None:
        """As Executor says."""
        await asyncio.to_thread(self._cluster.knock)
        await self._drivers.start()
        if problem := await asyncio.to_thread(self._check):
            await self._drivers.drain()
            raise problem
        log.info("ray_cluster_reached", address=self._cluster.address)

    def check(self, plan: TrainingPlan) -> str:
        """As Executor says. A worker sees the GPUs that it takes of its node, numbered from 0."""
        name, gpus = plan.device, self._cluster.gpus
        device = torch.device(("cuda" if gpus else "cpu") if name == "auto" else name)
        if device.type == "mps" or (device.type == "cuda" and (device.index or 0) >= gpus):
            raise no_such_device(name, f"each worker on the Ray cluster has {gpus} GPU")
        check_device(plan, device)
        if plan.workers > plan.batch_size:
            raise InvalidArgument(
                Reason.INVALID_FIELD,
                f"{plan.workers} workers can't share batches of {plan.batch_size} rows: take fewer, or larger batches",
                field="training_job.plan.workers",
            )
        return ""  # the cluster gives each worker its own

    async def run(self, task: TrainingTask, control: Control) -> AsyncGenerator[WorkerMessage, None]:
        """As Executor says."""
        shared = await asyncio.to_thread(_shared, task)
        async with aclosing(self._drivers.run(shared, control)) as messages:
            async for message in messages:
                yield message

    async def drain(self) -> None:
        """As Executor says."""
        await self._drivers.drain()

    def _check(self) -> FlareError | None:
        """What is wrong with the cluster, as another process finds: Ray never lets go of one that it was in."""
        worker = Worker.start(partial(ray_driver.check, self._cluster))
        problem: FlareError | None = worker.connection.recv()
        worker.dismiss()
        return problem


def _shared(task: TrainingTask) -> TrainingTask:
    """The task with the weights that it starts from beside its checkpoints, since nodes see no other files of ours."""
    directory = task.checkpoints.parent / "start"
    started = [path for path in (task.base, task.initial_weights) if path is not None]
    if started and not directory.exists():
        with staged_directory(directory) as staging:
            for path in started:
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, staging / path.name)
    base = None if task.base is None else directory / task.base.name
    weights = None if task.initial_weights is None else directory / task.initial_weights.name
    return replace(task, base=base, initial_weights=weights)
