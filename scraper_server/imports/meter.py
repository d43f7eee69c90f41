"""Measures how fast an import goes, and tells of it not too often."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from scraper_server.imports.spec import PROGRESS, ImportPhase, ImportProgress
from servicekit.jobs.runner import JobRun
from servicekit.jobs.values import ClaimLost, EventDraft

# Between two commits that tell of progress. In any second there are then at most 6 of them (3 in their turn, the last
# of each of two phases that ended meanwhile, and the last of all), and with the 4 of the job's life no more than 10.
EVENT_SECONDS = 0.4
# The rate is that of so many last seconds.
WINDOW_SECONDS = 5.0


class Meter:
    """Turns counts of bytes into progress with a rate and the time left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()
        self._ended: list[ImportProgress] = []  # the last of each phase that ended since the last telling
        self._told: ImportProgress | None = None
        self.progress = ImportProgress(ImportPhase.RESOLVING)

    def begin(self, phase: ImportPhase) -> None:
        """A phase begins, which may go on where an earlier attempt was: its rate is that from its first update on."""
        if phase is not self.progress.phase:
            self._seen.clear()
            self._ended.append(self.progress)
            self.progress = ImportProgress(phase)

    def update(self, phase: ImportPhase, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Takes the bytes of a phase that are done, and in all (0 if not known)."""
        now = self._clock()
        self.begin(phase)
        if self._seen and done_bytes < self._seen[-1][1]:  # it had to start anew
            self._seen.clear()
        self._seen.append((now, done_bytes))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()
        began, done_then = self._seen[0]
        rate = (done_bytes - done_then) / (now - began) if now > began else 0.0
        left = max(total_bytes - done_bytes, 0)
        remaining = left / rate if rate > 0 and total_bytes else None
        self.progress = ImportProgress(phase, done_bytes, total_bytes, rate, remaining)

    def news(self) -> list[ImportProgress]:
        """What was not told yet: how each phase ended, and where the present one is."""
        found = [progress for progress in (*self._ended, self.progress) if progress != self._told]
        self._ended.clear()
        self._told = self.progress
        return found


@asynccontextmanager
async def reported(run: JobRun) -> AsyncIterator[Meter]:
    """Yields a meter; what it shows is told as events of the job while the block runs, once in EVENT_SECONDS."""
    meter = Meter()
    ended = asyncio.Event()
    telling = asyncio.create_task(_tell(run, meter, ended))
    try:
        yield meter
    finally:
        ended.set()
        # If this attempt is over, the runner knows it too and ends the work.
        with contextlib.suppress(ClaimLost):
            await telling


async def _tell(run: JobRun, meter: Meter, ended: asyncio.Event) -> None:
    while True:
        is_last = ended.is_set()
        if news := meter.news():
            drafts = [EventDraft(PROGRESS, progress.to_json()) for progress in news]
            await run.emit(*drafts, progress=news[-1].to_json())
        if is_last:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVENT_SECONDS):
                await ended.wait()
