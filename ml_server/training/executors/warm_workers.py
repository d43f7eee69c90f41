"""Worker processes that wait for a task, forked ahead from a process that has torch loaded already."""

import asyncio
import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import structlog

from ml_server.training import worker_process
from ml_server.training.task import TrainingTask

log = structlog.get_logger()

# glibc returns large blocks to the system and asks for them anew at every step unless it is told to keep them; set
# before the first worker starts, since a process reads them once. A CNN's step takes about half the time with them.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# What a worker would otherwise import itself: about two seconds. Arrow looks for pandas with its first column.
PRELOADED = ["torch", "torch._dynamo", "pandas", "ml_server.networks.architectures", "ml_server.training.worker"]


Entry = Callable[[Connection], None]
"""What a process runs: it takes a task from the connection, and sends WorkerMessages."""


@dataclass(frozen=True)
class Worker:
    """A process, and our end of its pipe. Closing the pipe ends it."""

    process: ForkServerProcess
    connection: Connection

    @classmethod
    def start(cls, entry: Entry = worker_process.main) -> "Worker":
        """Forks a worker, which then waits for its task."""
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(target=entry, args=(theirs,), daemon=True)
        process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        return cls(process, ours)

    def give(self, task: TrainingTask) -> bool:
        """Hands over the one task. False if the worker died while it waited."""
        try:
            self.connection.send(task)
        except OSError:
            return False
        return True

    def dismiss(self) -> None:
        """Ends a worker without a task, and waits for its end."""
        self.connection.close()
        self.process.join()


class WarmWorkers:
    """Keeps `size` workers waiting. Nothing of torch has run in the process that they are forked from."""

    def __init__(self, size: int, entry: Entry = worker_process.main) -> None:
        self._size = size
        self._entry = entry
        self._waiting: deque[Worker] = deque()
        self._refilling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the process that workers are forked from, has it load torch, and forks the first ones behind."""
        multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
        for name, value in ALLOCATOR.items():
            os.environ.setdefault(name, value)
        await asyncio.to_thread(forkserver.ensure_running)
        self._refill()

    async def take(self, task: TrainingTask) -> Worker:
        """A worker that works on `task`; another one takes its place behind. Raises OSError if none can start."""
        while self._waiting:
            worker = self._waiting.popleft()
            self._refill()
            if await asyncio.to_thread(worker.give, task):
                return worker
            await asyncio.to_thread(worker.dismiss)
        worker = await asyncio.to_thread(Worker.start, self._entry)
        await asyncio.to_thread(worker.give, task)  # one that is dead by now is noticed by whoever listens to it
        return worker

    async def drain(self) -> None:
        """Ends those that wait."""
        self._size = 0
        if self._refilling is not None:
            await asyncio.gather(self._refilling, return_exceptions=True)
        await asyncio.gather(*(asyncio.to_thread(worker.dismiss) for worker in self._waiting))
        self._waiting.clear()

    def _refill(self) -> None:
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._fork_until_full())

    async def _fork_until_full(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while len(self._waiting) < self._size:
                try:
                    self._waiting.append(await asyncio.to_thread(Worker.start, self._entry))
                except (OSError, EOFError) as error:  # the next job tries again
                    log.warning("warm_worker_not_started", error=str(error))
                    return
