"""The newest events of one job, read once for all who watch it in this process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Event, Job
from servicekit.jobs.wakeups import Wakeups

# How long the change of another process may stay unseen.
READ_INTERVAL_SECONDS = 1.0
PAGE = 500
# Who is further behind than this reads the log itself.
KEPT_EVENTS = 1_000


class JobTail:
    """Reads the log again whenever a wakeup says so, and at intervals. The log is the truth."""

    def __init__(self, store: JobStore, wakeups: Wakeups, job: Job, quiet_seconds: float) -> None:
        """Begins after the newest event of `job`. Those who wait are woken after `quiet_seconds` without an event."""
        self._store = store
        self._wakeups = wakeups
        self._owner = job.owner
        self._job_id = job.id
        self._quiet_seconds = quiet_seconds
        self._kept: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        self._watchers = 0
        self.newest = job.last_sequence
        """The sequence of the newest event."""
        self.ended: Job | None = None
        """The job as it ended, once its final event is the newest."""
        self.is_silent = False
        """True if those who waited were woken for no event."""
        self.is_over = False
        """True if nothing more is read: the job ended, the server drains, or the log could not be read."""

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Reads while there is somebody in this block."""
        self._watchers += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self.is_over = True
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)

    async def events(self, after: int) -> list[Event]:
        """Some of the events above a sequence, in order; at least one if there is a newer one."""
        missing = self.newest - after
        if missing > len(self._kept):
            return await self._store.events(self._job_id, after, PAGE)
        return [self._kept[index] for index in range(-missing, 0)]

    async def wait(self) -> None:
        """Waits for news: an event, the end, or a long silence. Raises what kept the log from being read."""
        if not self.is_over:
            await self._news.wait()
        if self._failure is not None:
            raise self._failure

    async def _read(self) -> None:
        try:
            await self._read_to_the_end()
        except Exception as error:
            self._failure = error
        finally:
            self.is_over = True
            self._tell()

    async def _read_to_the_end(self) -> None:
        clock = asyncio.get_running_loop().time
        with self._wakeups.subscribed(self._job_id) as wakeup:
            told = clock()
            while True:
                wakeup.clear()  # before the read: an append between read and wait must wake us
                while page := await self._store.events(self._job_id, self.newest, PAGE):
                    if page[-1].is_final:
                        self.ended = await self._store.get(self._owner, self._job_id)
                    self._kept.extend(page)
                    self.newest = page[-1].sequence
                    self._tell()
                    told = clock()
                if self.ended is not None or self._wakeups.closed:
                    return
                if clock() - told >= self._quiet_seconds:
                    self._tell(is_silent=True)
                    told = clock()
                await wakeup.wait_at_most(min(READ_INTERVAL_SECONDS, told + self._quiet_seconds - clock()))

    def _tell(self, *, is_silent: bool = False) -> None:
        """Wakes all who wait; those who come later wait for the next time."""
        self.is_silent = is_silent
        self._news.set()
        self._news = asyncio.Event()
