"""Has trackers show the trainings of this server, from the log of each."""

import asyncio
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import structlog

from ml_server.tracking.caller import Caller
from ml_server.tracking.places import Place, Places
from ml_server.tracking.tracker import TrackedEvent, TrackedJob, Tracker, tracked_event
from servicekit.errors import NotFound
from servicekit.jobs.runner import JobRun, Work
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Event, Job
from servicekit.jobs.wakeups import Wakeups

log = structlog.get_logger()

PAGE = 500
# How long an event of another process may stay unseen.
READ_INTERVAL_SECONDS = 5.0
# After a failure, and at most, as it is twice as long after each.
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 60.0
# What a tracker may still write when the server ends; the next start writes the rest.
DRAIN_SECONDS = 5.0


class Tracking:
    """Follows the log of every job that this server works on, and has a tracker show what is in it.

    The log is the truth: what could not be shown, since the tracker failed or the server ended, is read there again. A
    job knows nothing of it, and never waits for it.
    """

    def __init__(
        self,
        tracker: Tracker,
        store: JobStore,
        wakeups: Wakeups,
        directory: Path,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        """`directory` keeps how far each job was shown; the tracker's alone."""
        self._tracker = tracker
        self._store = store
        self._wakeups = wakeups
        self._places = Places(directory)
        self._caller = Caller(f"{tracker.name}-tracker")
        self._first_retry_seconds = first_retry_seconds
        self._draining = asyncio.Event()
        self._following: dict[str, asyncio.Task[None]] = {}

    def of(self, work: Work) -> Work:
        """The work of jobs, each of which is followed from its start."""

        async def tracked(run: JobRun) -> dict[str, Any] | None:
            self.follow(run.job, run.attempt)
            return await work(run)

        return tracked

    async def start(self) -> None:
        """Goes on with jobs that were not shown to their end when the server ended."""
        for job_id, place in list(self._places.all()):
            try:
                job = await self._store.get(place.owner, job_id)
            except NotFound:
                self._places.forget(job_id)
                continue
            if job.state.is_final and place.sequence >= job.last_sequence:
                self._places.forget(job_id)
            else:
                self.follow(job, place.attempt)

    async def drain(self) -> None:
        """Shows what the logs have by now, as far as that goes within moments."""
        self._draining.set()
        tasks = dict(self._following)
        for job_id in tasks:
            self._wakeups.notify(job_id)
        if tasks:
            _, late = await asyncio.wait(tasks.values(), timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def follow(self, job: Job, attempt: int) -> None:
        """Shows a job until it ends, or until an attempt after this one begins, here or elsewhere."""
        earlier = self._following.get(job.id)
        task = asyncio.create_task(self._follow(job, attempt, earlier))
        self._following[job.id] = task
        task.add_done_callback(partial(self._followed, job.id))

    def _followed(self, job_id: str, task: "asyncio.Task[None]") -> None:
        if self._following.get(job_id) is task:
            del self._following[job_id]

    async def _follow(self, job: Job, attempt: int, earlier: "asyncio.Task[None] | None") -> None:
        if earlier is not None:
            earlier.cancel()
            await asyncio.gather(earlier, return_exceptions=True)
        retry_seconds = self._first_retry_seconds
        while True:
            try:
                await self._show(job, attempt)
                return
            except Exception as error:  # whatever a tracker's library may raise: the training goes on without it
                log.warning("tracking_failed", tracker=self._tracker.name, job=job.id, error=repr(error))
            if await self._drained_within(retry_seconds):
                return
            retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)

    async def _drained_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._draining.wait()
        except TimeoutError:
            return False
        return True

    async def _show(self, job: Job, attempt: int) -> None:
        tracked = TrackedJob.of(job)
        sequence = await self._caller.call(partial(self._begin, job, attempt))
        with self._wakeups.subscribed(job.id) as wakeup:
            while True:
                wakeup.clear()  # before the read: an append between read and wait must wake us
                is_last_look = self._draining.is_set()
                while page := await self._store.events(job.id, sequence, PAGE):
                    mine = list(takewhile(lambda event: event.attempt <= attempt, page))
                    if mine:
                        sequence = mine[-1].sequence
                        place = Place(job.owner, attempt, sequence)
                        await self._caller.call(partial(self._write, tracked, _tracked(mine), place))
                    if len(mine) < len(page) or mine[-1].is_final:
                        await self._caller.call(partial(self._end, tracked))
                        return
                if is_last_look:
                    await self._caller.call(partial(self._tracker.leave, tracked))
                    return
                await wakeup.wait_at_most(READ_INTERVAL_SECONDS)

    def _begin(self, job: Job, attempt: int) -> int:
        """Notes that the job is to be shown; returns up to where it was."""
        sequence = self._places.sequence(job.id)
        self._places.keep(job.id, Place(job.owner, attempt, sequence))
        return sequence

    def _write(self, job: TrackedJob, events: list[TrackedEvent], place: Place) -> None:
        if events:
            self._tracker.write(job, events)
            self._places.keep(job.id, place)

    def _end(self, job: TrackedJob) -> None:
        self._tracker.leave(job)
        self._places.forget(job.id)


def _tracked(events: list[Event]) -> list[TrackedEvent]:
    return [told for event in events if (told := tracked_event(event)) is not None]
