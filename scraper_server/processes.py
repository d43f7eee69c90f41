"""Runs heavy work in processes of its own, so that the server goes on answering and a cancelled call ends at once."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

import pyarrow as pa
import structlog

from servicekit.disk import full_disk_told
from servicekit.errors import FlareError, Internal, Reason, Unavailable

log = structlog.get_logger()

T = TypeVar("T")
Report = Callable[..., None]

# Imported once by the server that the processes are forked from. It is started fresh and never runs gRPC or Arrow's
# threads, which a fork would break. What a process needs and is not here, each process would import for itself.
PRELOADED = ["scraper_server.processes", "scraper_server.tables.conversion", "scraper_server.views.making"]
REPORTS_A_SECOND = 20
# The server goes first wherever both want a processor.
NICENESS = 10
# Arrow would take a thread for each processor, in each process.
ARROW_THREADS = 4


class Processes:
    """Starts one process for each piece of work, at most `limit` at a time."""

    def __init__(self, limit: int) -> None:
        """Starts nothing yet."""
        self._slots = asyncio.Semaphore(limit)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    async def start(self) -> None:
        """Starts the server that processes are forked from, which takes a second or two."""
        await asyncio.to_thread(self._warm_up)

    async def drain(self) -> None:
        """Nothing to do: whoever waits for work is cancelled, and its process with it."""

    async def run(self, work: Callable[..., T], *arguments: Any, report: Report | None = None) -> T:
        """Returns `work(*arguments)`, computed elsewhere; arguments and result cross by pickle.

        With `report`, the work gets one more argument: a function whose arguments are passed on to `report`, thinned
        out to REPORTS_A_SECOND. Cancelled, it kills the process.

        Raises:
            FlareError: What the work raised; Internal if that was no FlareError.
            Unavailable: DEPENDENCY_UNAVAILABLE, if the process died, as for want of memory.
        """
        async with self._slots:
            ours, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_work, args=(theirs, work, arguments, report is not None), daemon=True
            )
            try:
                process.start()  # milliseconds, since the server it is forked from is there
                theirs.close()
                answer = await _answer(ours, report)
            finally:
                theirs.close()
                if process.pid is not None:
                    process.kill()  # before our end is closed, which a thread may be reading
                    await asyncio.shield(asyncio.to_thread(process.join))
                ours.close()
        if answer is None:
            message = "the process that read the table ended without a word: it may need more memory than there is"
            raise Unavailable(Reason.DEPENDENCY_UNAVAILABLE, message, retry_after_seconds=5)
        kind, value = answer
        if kind == "result":
            result: T = value
            return result
        if kind == "refused":
            raise FlareError.from_json(value)
        log.error("work_broke", work=getattr(work, "__qualname__", repr(work)), trace=value)
        raise Internal(Reason.INTERNAL, "internal error; the server's log has the cause")

    def _warm_up(self) -> None:
        process = self._context.Process(target=_nothing, daemon=True)
        process.start()
        process.join()


async def _answer(connection: Connection, report: Report | None) -> tuple[str, Any] | None:
    """Passes reports on until the result comes; None if the other end is gone without one."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection.fileno(), readable.set)
    os.set_blocking(connection.fileno(), True)  # uvloop unsets it, and a large answer comes in pieces
    try:
        while True:
            await readable.wait()
            readable.clear()
            with contextlib.suppress(EOFError, OSError):
                while connection.poll():
                    kind, value = await asyncio.to_thread(connection.recv)
                    if kind != "report":
                        return kind, value
                    if report is not None:
                        report(*value)
                continue
            return None
    finally:
        loop.remove_reader(connection.fileno())


def _nothing() -> None:
    """A process that shows that processes can be had."""


def _work(connection: Connection, work: Callable[..., Any], arguments: tuple[Any, ...], reports: bool) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the server, which ends this process itself
    os.nice(NICENESS)
    pa.set_cpu_count(min(ARROW_THREADS, pa.cpu_count()))
    last = 0.0

    def report(*values: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= 1 / REPORTS_A_SECOND:
            last = time.monotonic()
            connection.send(("report", values))

    try:
        with full_disk_told():
            result = work(*arguments, report) if reports else work(*arguments)
        connection.send(("result", result))
    except FlareError as error:
        connection.send(("refused", error.to_json()))
    except Exception:
        connection.send(("broke", traceback.format_exc()))
