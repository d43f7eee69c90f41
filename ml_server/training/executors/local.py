"""Runs tasks in processes of this machine, forked from one that has torch loaded already."""

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import AsyncGenerator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import structlog

from ml_server.training import worker_process
from ml_server.training.executors.executor import Control
from ml_server.training.stop import StopKind
from ml_server.training.task import TrainingTask, WorkerMessage
from servicekit.errors import Reason, Unavailable
from servicekit.jobs.values import LostAttempt

log = structlog.get_logger()

# glibc returns large blocks to the system and asks for them anew at every step unless it is told to keep them; set
# before the first worker starts, since a process reads them once. A CNN's step takes about half the time with them.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# What a worker would otherwise import itself: about two seconds.
PRELOADED = ["torch", "torch._dynamo", "ml_server.training.worker"]
STOP_SECONDS = 5.0


class LocalExecutor:
    """One process for each task. Nothing of torch has run in the process that they are forked from."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")

    async def start(self) -> None:
        """Starts the process that workers are forked from, and has it load torch."""
        self._context.set_forkserver_preload(PRELOADED)
        for name, value in ALLOCATOR.items():
            os.environ.setdefault(name, value)
        await asyncio.to_thread(forkserver.ensure_running)

    async def run(self, task: TrainingTask, control: Control) -> AsyncGenerator[WorkerMessage, None]:
        """As Executor says."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=worker_process.main, args=(theirs, task), daemon=True)
        await asyncio.to_thread(process.start)
        theirs.close()  # so that the end of the worker is the end of the pipe
        log.info("worker_started", pid=process.pid, job=task.provenance.training_job)
        finishing = asyncio.create_task(_pass_on(control, ours))
        try:
            while True:
                message = await asyncio.to_thread(_receive, ours)
                if message is None:
                    break
                yield message
        finally:
            finishing.cancel()
            kind = StopKind.CANCEL if control.is_abandoned else StopKind.PAUSE
            await asyncio.shield(asyncio.to_thread(_end, process, ours, kind))
        if process.exitcode != 0:
            raise LostAttempt(_died(process))

    async def drain(self) -> None:
        """Nothing is left to end: each task ends its own process."""


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


def _end(process: ForkServerProcess, connection: Connection, kind: StopKind) -> None:
    """Waits for the worker's end; one that still works is asked to stop, and then killed."""
    with contextlib.suppress(OSError):
        connection.send_bytes(kind.encode())
    process.join(STOP_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    connection.close()


def _died(process: ForkServerProcess) -> Unavailable:
    code = process.exitcode or 0
    how = f"killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return Unavailable(Reason.DEPENDENCY_UNAVAILABLE, f"the worker process {process.pid} was {how}")
