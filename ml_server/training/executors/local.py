"""Runs tasks in worker processes of this machine."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import structlog

from ml_server.training import worker_process
from ml_server.training.devices import check_device, gpus, resolve_device, wanted_gpu
from ml_server.training.executors.executor import Control
from ml_server.training.executors.warm_workers import Entry, WarmWorkers, Worker
from ml_server.training.plans import TrainingPlan
from ml_server.training.stop import StopKind
from ml_server.training.task import TrainingTask, WorkerMessage
from servicekit.errors import InvalidArgument, Reason, Unavailable
from servicekit.jobs.resources import Resources
from servicekit.jobs.values import LostAttempt

log = structlog.get_logger()

STOP_SECONDS = 5.0


class LocalExecutor:
    """One process for each task, forked before the task came."""

    def __init__(self, warm_workers: int = 1, entry: Entry = worker_process.main) -> None:
        """`warm_workers` is how many processes wait for a task; `entry` is what they run."""
        self._workers = WarmWorkers(warm_workers, entry)
        self.resources = Resources(gpus())

    async def start(self) -> None:
        """As Executor says."""
        await self._workers.start()

    def check(self, plan: TrainingPlan) -> str:
        """As Executor says: each GPU has one job at a time."""
        device = resolve_device(plan.device)
        check_device(plan, device)
        if plan.workers > 1:
            raise InvalidArgument(
                Reason.INVALID_FIELD,
                f"this service trains on its own machine, with 1 worker, not {plan.workers}: leave workers out, or "
                "have the operator set FLARE_ML_EXECUTOR=ray",
                field="training_job.plan.workers",
            )
        return wanted_gpu(plan.device, device)

    async def run(self, task: TrainingTask, control: Control) -> AsyncGenerator[WorkerMessage, None]:
        """As Executor says."""
        worker = await self._workers.take(task)
        log.info("worker_started", pid=worker.process.pid, job=task.provenance.training_job)
        finishing = asyncio.create_task(_pass_on(control, worker.connection))
        try:
            while True:
                message = await asyncio.to_thread(_receive, worker.connection)
                if message is None:
                    break
                yield message
        finally:
            finishing.cancel()
            kind = StopKind.CANCEL if control.is_abandoned else StopKind.PAUSE
            await asyncio.shield(asyncio.to_thread(_end, worker, kind))
        code = worker.process.exitcode
        if code != 0 and not (code == worker_process.STOPPED_STATUS and control.finish_requested.is_set()):
            raise LostAttempt(_died(worker.process))

    async def drain(self) -> None:
        """Ends the processes that wait; each task has ended its own."""
        await self._workers.drain()


def _receive(connection: Connection) -> WorkerMessage | None:
    """The worker's next message, None when it has ended."""
    try:
        message: WorkerMessage = connection.recv()
    except (EOFError, OSError):
        return None
    return message


async def _pass_on(control: Control, connection: Connection) -> None:
    """Tells the worker when it is to finish with what it has."""
    await control.finish_requested.wait()
    with contextlib.suppress(OSError):
        connection.send_bytes(StopKind.FINISH.encode())


def _end(worker: Worker, kind: StopKind) -> None:
    """Waits for the worker's end; one that still works is asked to stop, and then killed."""
    with contextlib.suppress(OSError):
        worker.connection.send_bytes(kind.encode())
    worker.process.join(STOP_SECONDS)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.connection.close()


def _died(process: ForkServerProcess) -> Unavailable:
    code = process.exitcode or 0
    how = f"killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return Unavailable(Reason.DEPENDENCY_UNAVAILABLE, f"the worker process {process.pid} was {how}")
