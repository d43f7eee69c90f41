"""Processes that serve beside the first one: started again when they end, and ended with it, however it ends."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping

import structlog

from servicekit.processes.news import News
from servicekit.settings import ServerSettings

log = structlog.get_logger()

FIRST_DELAY_SECONDS = 0.1
LAST_DELAY_SECONDS = 30.0
# One that lived this long is started again as soon as if it were its first end.
STEADY_SECONDS = 60.0
# Beyond the drain of their calls.
END_SECONDS = 5.0


class Children:
    """`python -m MODULE --beside NUMBER` for the numbers from 1 on, each linked to this process by its stdin."""

    def __init__(self, module: str, count: int, settings: ServerSettings, news: News) -> None:
        """`count` is how many; they have this process's environment, and its port."""
        self._module = module
        self._count = count
        self._settings = settings
        self._news = news
        self._draining = asyncio.Event()
        self._kept: list[asyncio.Task[None]] = []

    def start(self, port: int) -> None:
        """Starts them; they answer calls on this port a little later."""
        numbers = range(1, self._count + 1)
        self._kept = [asyncio.create_task(self._keep(number, self._environment(number, port))) for number in numbers]

    async def drain(self) -> None:
        """Lets them drain and end; kills those that do not."""
        self._draining.set()
        await asyncio.gather(*self._kept)

    def _environment(self, number: int, port: int) -> Mapping[str, str]:
        settings, prefix = self._settings, self._settings.model_config.get("env_prefix", "")
        host = settings.listen_address.rsplit(":", 1)[0]
        environment = {**os.environ, f"{prefix}LISTEN_ADDRESS": f"{host}:{port}"}
        if settings.metrics_address:
            host, metrics_port = settings.metrics_address.rsplit(":", 1)
            environment[f"{prefix}METRICS_ADDRESS"] = f"{host}:{int(metrics_port) + number}"
        return environment

    async def _keep(self, number: int, environment: Mapping[str, str]) -> None:
        clock = asyncio.get_running_loop().time
        delay = FIRST_DELAY_SECONDS
        while not self._draining.is_set():
            began = clock()
            try:
                await self._run(number, environment)
            except OSError as error:
                log.warning("process_not_started", process=number, error=str(error))
            if clock() - began >= STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            await _set_within(self._draining, delay)
            delay = min(2 * delay, LAST_DELAY_SECONDS)

    async def _run(self, number: int, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", self._module, "--beside", str(number)]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._news.join(ours)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), env=environment)
            log.info("process_started", process=number, pid=process.pid)
            ended = asyncio.create_task(process.wait())
            drained = asyncio.create_task(self._draining.wait())
            await asyncio.wait([ended, drained], return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
        finally:
            self._news.leave(ours)  # which ends it, if it still runs
        _, late = await asyncio.wait([ended], timeout=self._settings.drain_seconds + END_SECONDS)
        if late:
            process.kill()
        status = await ended
        log.warning("process_ended", process=number, pid=process.pid, status=status)


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
