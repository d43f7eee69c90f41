"""Follows a job's events from any sequence on, as they come."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from servicekit.errors import OutOfRange, Reason, Unavailable
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Event, Job
from servicekit.jobs.wakeups import Wakeups

HEARTBEAT_SECONDS = 15.0
# How long the change of another process may stay unseen.
READ_INTERVAL_SECONDS = 1.0
PAGE = 500


@dataclass(frozen=True)
class Heartbeat:
    """Nothing happened for a while; `sequence` is that of the newest event seen."""

    sequence: int


class JobFollower:
    """Reads the log again whenever a wakeup says so, and at intervals. The log is the truth."""

    def __init__(self, store: JobStore, wakeups: Wakeups, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._store = store
        self._wakeups = wakeups
        self._heartbeat_seconds = heartbeat_seconds

    async def start(self) -> None:
        """Nothing to start."""

    async def drain(self) -> None:
        """Tells every follower that the server is about to end, so that it goes on with another one."""
        self._wakeups.close()

    async def follow(self, owner: str, job_id: str, after: int) -> AsyncIterator[Job | Event | Heartbeat]:
        """Yields the job as it is, its events with a sequence above `after` up to its final one, and the job again.

        Raises:
            NotFound: The owner has no such job.
            OutOfRange: EVENTS_OUT_OF_RANGE, if `after` is larger than any sequence of the job.
            Unavailable: SHUTTING_DOWN, when the server drains; what was yielded is not to be asked for again.
        """
        job = await self._store.get(owner, job_id)
        if after > job.last_sequence:
            raise OutOfRange(
                Reason.EVENTS_OUT_OF_RANGE,
                f"after_sequence {after} lies beyond the job's newest event {job.last_sequence}: watch from that or 0",
                field="after_sequence",
            )
        yield job
        clock = asyncio.get_running_loop().time
        with self._wakeups.subscribed(job_id) as wakeup:
            beat = clock() + self._heartbeat_seconds
            is_final = job.state.is_final
            while True:
                wakeup.clear()  # before the read: an append between read and wait must wake us
                while page := await self._store.events(job_id, after, PAGE):
                    for event in page:
                        yield event
                        after = event.sequence
                        is_final = is_final or event.is_final
                    beat = clock() + self._heartbeat_seconds
                if is_final:
                    yield await self._store.get(owner, job_id)
                    return
                if self._wakeups.closed:
                    raise Unavailable(
                        Reason.SHUTTING_DOWN,
                        f"the server is draining: watch again with after_sequence {after}",
                        retry_after_seconds=1,
                        after_sequence=str(after),
                    )
                if clock() >= beat:
                    yield Heartbeat(after)
                    beat = clock() + self._heartbeat_seconds
                await wakeup.wait_at_most(min(READ_INTERVAL_SECONDS, beat - clock()))
