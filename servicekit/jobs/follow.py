"""Follows a job's events from any sequence on, as they come."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from servicekit.errors import OutOfRange, Reason, Unavailable
from servicekit.jobs.coalescing import Coalescing
from servicekit.jobs.store import JobStore
from servicekit.jobs.tail import PAGE, JobTail
from servicekit.jobs.values import Event, Job
from servicekit.jobs.wakeups import Wakeups

HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True)
class Heartbeat:
    """Nothing happened for a while; `sequence` is that of the newest event seen."""

    sequence: int


class JobFollower:
    """Lets any number of watchers follow jobs, each at its own pace."""

    def __init__(
        self,
        store: JobStore,
        wakeups: Wakeups,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        metrics: frozenset[str] = frozenset(),
    ) -> None:
        """`metrics` are the kinds of event that are coalesced for a watcher that reads slowly, see Coalescing."""
        self._store = store
        self._wakeups = wakeups
        self._heartbeat_seconds = heartbeat_seconds
        self._metrics = metrics
        self._tails: dict[str, JobTail] = {}

    async def start(self) -> None:
        """Nothing to start."""

    async def drain(self) -> None:
        """Tells every follower that the server is about to end, so that it goes on with another one."""
        self._wakeups.close()

    async def follow(self, owner: str, job_id: str, after: int) -> AsyncGenerator[Job | Event | Heartbeat]:
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
        if job.state.is_final:
            while page := await self._store.events(job_id, after, PAGE):
                for event in page:
                    yield event
                after = page[-1].sequence
            yield job
            return
        tail = self._tail(job)
        try:
            async with tail.watched(), aclosing(self._live(tail, after, job.last_sequence)) as messages:
                async for message in messages:
                    yield message
        finally:
            if tail.is_over and self._tails.get(job_id) is tail:
                del self._tails[job_id]

    async def _live(self, tail: JobTail, after: int, newest: int) -> AsyncGenerator[Job | Event | Heartbeat]:
        coalescing = Coalescing(self._metrics, newest)
        while True:
            while after < tail.newest:
                for event in await tail.events(after):
                    for message in coalescing.take(event):
                        newest = tail.newest
                        yield message
                        coalescing.sent(tail.newest - newest, tail.newest)
                    after = event.sequence
            if tail.ended is not None:
                yield tail.ended
                return
            if self._wakeups.closed:
                raise _draining(after)
            await tail.wait()
            if tail.is_silent:
                yield Heartbeat(after)

    def _tail(self, job: Job) -> JobTail:
        """The one tail of a job that somebody watches."""
        tail = self._tails.get(job.id)
        if tail is None or tail.is_over:
            tail = self._tails[job.id] = JobTail(self._store, self._wakeups, job, self._heartbeat_seconds)
        return tail


def _draining(after: int) -> Unavailable:
    return Unavailable(
        Reason.SHUTTING_DOWN,
        f"the server is draining: watch again with after_sequence {after}",
        retry_after_seconds=1,
        after_sequence=str(after),
    )
