"""Runs jobs: claims them, holds their leases, and writes down how they end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from servicekit.errors import FlareError, Internal, Reason
from servicekit.jobs.resources import Resources
from servicekit.jobs.store import JobStore, Outcome
from servicekit.jobs.values import HELD_STATES, Claim, ClaimLost, EventDraft, Job, JobState, LostAttempt
from servicekit.jobs.wakeups import QUEUE, Wakeups

log = structlog.get_logger()

# How long a job of another process may wait unseen.
CLAIM_INTERVAL_SECONDS = 1.0


class JobRun:
    """One attempt at a job, as its work sees it."""

    def __init__(self, store: JobStore, claim: Claim, resource: str) -> None:
        """`resource` is what the job has to itself while it runs, empty for nothing."""
        self._store = store
        self._claim = claim
        self.resource = resource
        self.finish_requested = asyncio.Event()
        """Set when somebody cancels the job and the work is to end soon by itself: because its result by then is
        wanted, or because its kind is one of `graceful_cancel`."""
        self.keeps_result = False
        """True if it was cancelled by somebody who wants its result by then."""
        self.is_abandoned = False
        """True if nobody will go on with the job: when its work is cancelled, it need not save anything."""

    @property
    def job(self) -> Job:
        """The job as it was when this attempt began."""
        return self._claim.job

    @property
    def attempt(self) -> int:
        """The attempt's number, from 1."""
        return self._claim.attempt

    async def emit(self, *drafts: EventDraft, progress: dict[str, Any] | None = None) -> None:
        """Commits events and the job's progress together. Raises ClaimLost when this attempt is over."""
        await self._store.append(self._claim, drafts, progress)


Work = Callable[[JobRun], Awaitable[dict[str, Any] | None]]


class JobRunner:
    """Works on up to `concurrency` jobs at a time.

    `work` returns the job's result, or None if it was asked to finish and has none. It raises a FlareError if the job
    can't succeed, and LostAttempt if another attempt may. When it is cancelled, somebody cancelled or paused the job,
    the server drains, or another runner has the job: it saves or cleans up within moments and lets CancelledError pass.
    """

    def __init__(
        self,
        store: JobStore,
        wakeups: Wakeups,
        work: Work,
        *,
        name: str,
        concurrency: int,
        lease_seconds: float = 60.0,
        owner_limit: int = 0,
        graceful_cancel: bool = False,
        resources: Resources | None = None,
    ) -> None:
        """`name` stays the same when the runner's process is started again: it then takes back its own jobs.

        `owner_limit` is how many jobs of one owner run at a time; 0 for no limit. `graceful_cancel` is that of the
        store. `resources` are what jobs may have to themselves; one that wants what others have waits, and those behind
        it do not.
        """
        self._store = store
        self._wakeups = wakeups
        self._work = work
        self._name = name
        self._slots = asyncio.Semaphore(concurrency)
        self._lease_seconds = lease_seconds
        self._owner_limit = owner_limit
        self._graceful_cancel = graceful_cancel
        self._resources = resources or Resources()
        self._running: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Takes back what a runner of this name held when it died, and begins to claim."""
        if count := await self._store.take_back(self._name):
            log.info("jobs_taken_back", runner=self._name, count=count)
        self._claiming = asyncio.create_task(self._claim_forever())

    async def drain(self) -> None:
        """Claims no more, stops what runs, and puts it back into the queue for the next start."""
        if self._claiming is not None:
            self._claiming.cancel()
            await asyncio.gather(self._claiming, return_exceptions=True)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _claim_forever(self) -> None:
        with self._wakeups.subscribed(QUEUE) as wakeup:
            while True:
                await self._slots.acquire()
                wakeup.clear()
                try:
                    claim = await self._store.claim(
                        self._name, self._lease_seconds, self._owner_limit, self._resources.unavailable()
                    )
                except Exception:  # a store out of reach: the queue outlives it
                    log.exception("claim_failed", runner=self._name)
                    claim = None
                if claim is None:
                    self._slots.release()
                    await wakeup.wait_at_most(CLAIM_INTERVAL_SECONDS)
                    continue
                resource = self._resources.take(claim.job.resource)
                task = asyncio.create_task(self._run(claim, resource))
                self._running.add(task)
                task.add_done_callback(partial(self._ended, resource))

    def _ended(self, resource: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._resources.give_back(resource)
        self._slots.release()
        self._wakeups.notify(QUEUE)  # a job may wait for the resource
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job_not_written", runner=self._name, exc_info=error)

    async def _run(self, claim: Claim, resource: str) -> None:
        bound = log.bind(job=claim.job.id, attempt=claim.attempt)
        bound.info("job_started")
        run = JobRun(self._store, claim, resource)
        if claim.job.state is JobState.CANCELLING:
            self._ask_to_finish(run, claim.job)
        work = asyncio.ensure_future(self._work(run))
        stopping = asyncio.create_task(self._wait_for_stop(claim, run))
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the server drains
            await _cancelled(work)
            with contextlib.suppress(ClaimLost):
                await self._store.put_back(claim)
            bound.info("job_put_back")
            return
        finally:
            await _cancelled(stopping)
        if not work.done():
            await _cancelled(work)
        with contextlib.suppress(ClaimLost):
            await self._settle(claim, run, work)
            return
        bound.warning("job_claim_lost")

    async def _wait_for_stop(self, claim: Claim, run: JobRun) -> None:
        """Returns when the work is to be cancelled, or has another runner; renews the lease meanwhile."""
        with self._wakeups.subscribed(claim.job.id) as wakeup:
            clock = asyncio.get_running_loop().time
            while True:
                wakeup.clear()
                renewed = clock()
                try:
                    job = await self._store.renew(claim, self._lease_seconds)
                except ClaimLost:
                    return
                while job.state in HELD_STATES:
                    if self._is_to_stop(job, run):
                        return
                    left = renewed + self._lease_seconds / 3 - clock()
                    if left <= 0 or not await wakeup.wait_at_most(left):
                        break
                    wakeup.clear()
                    # Every event of the job rings; only a change of state concerns us.
                    job = await self._store.get(claim.job.owner, claim.job.id)

    def _is_to_stop(self, job: Job, run: JobRun) -> bool:
        """True if the work is to be cancelled; work that ends by itself is told to."""
        if job.state is JobState.CANCELLING:
            if not (job.keeps_result or self._graceful_cancel):
                run.is_abandoned = True
                return True
            self._ask_to_finish(run, job)
        return job.state is JobState.PAUSING

    def _ask_to_finish(self, run: JobRun, job: Job) -> None:
        run.keeps_result = job.keeps_result
        run.finish_requested.set()

    async def _settle(self, claim: Claim, run: JobRun, work: asyncio.Future[dict[str, Any] | None]) -> None:
        bound = log.bind(job=claim.job.id, attempt=claim.attempt)
        if work.cancelled():
            await self._store.put_back(claim)  # which cancels or pauses it, as was asked
            bound.info("job_cancelled" if run.is_abandoned else "job_paused")
            return
        error = work.exception()
        if error is None:
            state = JobState.CANCELLED if run.finish_requested.is_set() else JobState.SUCCEEDED
            await self._store.finish(claim, Outcome(state, result=work.result()))
            bound.info("job_succeeded" if state is JobState.SUCCEEDED else "job_cancelled")
        elif isinstance(error, LostAttempt):
            bound.warning("attempt_lost", reason=error.error.reason.value, message=error.error.message)
            await self._store.put_back(claim, error.error)
        elif isinstance(error, FlareError):
            bound.info("job_failed", reason=error.reason.value, message=error.message)
            await self._store.finish(claim, Outcome(JobState.FAILED, error=error))
        elif isinstance(error, ClaimLost):
            raise error
        else:
            bound.error("job_broke", exc_info=error)
            failure = Internal(Reason.INTERNAL, "internal error; the server's log has the cause")
            await self._store.finish(claim, Outcome(JobState.FAILED, error=failure))


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancels a task and waits for its end, whatever that is."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
