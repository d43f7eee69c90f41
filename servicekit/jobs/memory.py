"""The job store's twin in memory, for tests and for work that need not outlive its process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from servicekit.errors import FlareError
from servicekit.idempotency import RequestKey, different_request
from servicekit.jobs.sql import utc_now
from servicekit.jobs.store import (
    Cursor,
    Outcome,
    already_ended,
    being_cancelled,
    exhausted,
    no_such_job,
    not_paused,
    runner_died,
)
from servicekit.jobs.values import (
    HELD_STATES,
    Attempt,
    Claim,
    ClaimLost,
    Event,
    EventDraft,
    Job,
    JobState,
    state_changed,
)
from servicekit.jobs.wakeups import QUEUE, Wakeups


@dataclass
class _Record:
    job: Job
    events: list[Event] = field(default_factory=list)
    runner: str = ""
    lease_until: datetime | None = None
    lost_attempts: int = 0


class MemoryJobStore:
    """Keeps the rules that JobStore states; a method never waits, so each is a transaction by itself."""

    def __init__(
        self,
        kind: str,
        wakeups: Wakeups,
        now: Callable[[], datetime] = utc_now,
        *,
        graceful_cancel: bool = False,
    ) -> None:
        self._kind = kind
        self._wakeups = wakeups
        self._now = now
        self._graceful_cancel = graceful_cancel
        self._records: dict[str, _Record] = {}
        self._requests: dict[tuple[str, str, str], tuple[str, str]] = {}

    async def create(
        self,
        job_id: str,
        owner: str,
        spec: dict[str, Any],
        max_attempts: int,
        request: RequestKey | None = None,
        priority: int = 0,
        resource: str = "",
    ) -> Job:
        """As JobStore says."""
        if request is not None:
            key = (request.owner, request.method, request.request_id)
            fingerprint, known = self._requests.setdefault(key, (request.fingerprint, job_id))
            if fingerprint != request.fingerprint:
                raise different_request(request)
            if known in self._records:
                return self._shown(self._records[known])
        job = Job(job_id, owner, spec, JobState.QUEUED, max_attempts, self._now(), priority=priority, resource=resource)
        self._records[job_id] = _Record(job)
        self._tell(self._records[job_id], 0, [state_changed(JobState.QUEUED, 0)])
        self._wakeups.notify(QUEUE)
        return self._shown(self._records[job_id])

    async def get(self, owner: str, job_id: str) -> Job:
        """As JobStore says."""
        return self._shown(self._owned(owner, job_id))

    async def page(self, owner: str, before: Cursor | None, limit: int) -> list[Job]:
        """As JobStore says."""
        jobs = [self._shown(record) for record in self._records.values() if record.job.owner == owner]
        jobs.sort(key=lambda job: (job.create_time, job.id), reverse=True)
        return [job for job in jobs if before is None or (job.create_time, job.id) < before][:limit]

    async def unfinished(self, owner: str) -> list[Job]:
        """As JobStore says."""
        jobs = [self._shown(record) for record in self._records.values() if record.job.owner == owner]
        return [job for job in jobs if not job.state.is_final]

    async def ended(self, job_ids: Sequence[str]) -> set[str]:
        """As JobStore says."""
        return {each for each in job_ids if each in self._records and self._records[each].job.state.is_final}

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        """As JobStore says."""
        return [event for event in self._records[job_id].events if event.sequence > after][:limit]

    async def request_cancel(self, owner: str, job_id: str, *, keeps_result: bool = False) -> Job:
        """As JobStore says."""
        record = self._owned(owner, job_id)
        waits = record.job.state in (JobState.QUEUED, JobState.PAUSED)
        if waits and not (record.job.attempts and (keeps_result or self._graceful_cancel)):
            self._end(record, Outcome(JobState.CANCELLED))
        elif waits or record.job.state in (JobState.RUNNING, JobState.PAUSING):
            record.job = replace(record.job, keeps_result=keeps_result)
            self._ask(record, JobState.CANCELLING)
        elif record.job.state in (JobState.SUCCEEDED, JobState.FAILED):
            raise already_ended(self._kind, record.job)
        self._wakeups.notify(job_id)
        self._wakeups.notify(QUEUE)
        return record.job

    async def request_pause(self, owner: str, job_id: str) -> Job:
        """As JobStore says."""
        record = self._owned(owner, job_id)
        if record.job.state.is_final:
            raise already_ended(self._kind, record.job)
        if record.job.state is JobState.CANCELLING:
            raise being_cancelled(self._kind, record.job)
        if record.job.state is JobState.QUEUED:
            self._ask(record, JobState.PAUSED)
        elif record.job.state is JobState.RUNNING:
            self._ask(record, JobState.PAUSING)
        self._wakeups.notify(job_id)
        return record.job

    async def resume(self, owner: str, job_id: str) -> Job:
        """As JobStore says."""
        record = self._owned(owner, job_id)
        if record.job.state.is_final:
            raise already_ended(self._kind, record.job)
        if record.job.state is not JobState.PAUSED:
            raise not_paused(self._kind, record.job)
        self._ask(record, JobState.QUEUED)
        self._wakeups.notify(job_id)
        self._wakeups.notify(QUEUE)
        return self._shown(record)

    async def claim(
        self, runner: str, lease_seconds: float, owner_limit: int = 0, unavailable: frozenset[str] = frozenset()
    ) -> Claim | None:
        """As JobStore says."""
        now = self._now()
        for record in sorted(self._records.values(), key=_place):
            lapsed = record.lease_until is not None and record.lease_until < now
            if record.job.state in HELD_STATES and lapsed:
                self._lose(record, runner_died(record.runner))
            elif record.job.state is JobState.QUEUED and owner_limit and self._held_by(record.job.owner) >= owner_limit:
                continue
            goes_on = record.job.state is JobState.CANCELLING and not record.runner
            if not (record.job.state is JobState.QUEUED or goes_on) or record.job.resource in unavailable:
                continue
            state = JobState.CANCELLING if goes_on else JobState.RUNNING
            attempt = len(record.job.attempts) + 1
            record.runner, record.lease_until = runner, now + timedelta(seconds=lease_seconds)
            record.job = replace(
                record.job,
                state=state,
                attempts=(*record.job.attempts, Attempt(attempt, runner, now)),
                start_time=record.job.start_time or now,
            )
            self._tell(record, attempt, [state_changed(state, attempt)])
            return Claim(record.job, attempt, runner)
        return None

    async def renew(self, claim: Claim, lease_seconds: float) -> Job:
        """As JobStore says."""
        record = self._held(claim)
        record.lease_until = self._now() + timedelta(seconds=lease_seconds)
        return record.job

    async def append(self, claim: Claim, drafts: Sequence[EventDraft], progress: dict[str, Any] | None = None) -> None:
        """As JobStore says."""
        record = self._held(claim)
        if progress is not None:
            record.job = replace(record.job, progress=progress)
        self._tell(record, claim.attempt, drafts)

    async def finish(self, claim: Claim, outcome: Outcome, drafts: Sequence[EventDraft] = ()) -> None:
        """As JobStore says."""
        record = self._held(claim)
        self._tell(record, claim.attempt, drafts)
        self._end(record, outcome)

    async def put_back(self, claim: Claim, error: FlareError | None = None) -> None:
        """As JobStore says."""
        self._lose(self._held(claim), error)
        self._wakeups.notify(QUEUE)

    async def take_back(self, runner: str) -> int:
        """As JobStore says."""
        held = [each for each in self._records.values() if each.runner == runner and each.job.state in HELD_STATES]
        for record in held:
            self._lose(record, runner_died(runner))
        return len(held)

    def _owned(self, owner: str, job_id: str) -> _Record:
        record = self._records.get(job_id)
        if record is None or record.job.owner != owner:
            raise no_such_job(self._kind, job_id)
        return record

    def _held(self, claim: Claim) -> _Record:
        record = self._records[claim.job.id]
        is_held = record.job.state in HELD_STATES and record.runner != ""
        if not is_held or record.job.attempts[-1].number != claim.attempt:
            raise ClaimLost(claim.job.id)
        return record

    def _lose(self, record: _Record, error: FlareError | None) -> None:
        if record.job.state is JobState.CANCELLING and not (record.job.keeps_result or self._graceful_cancel):
            self._end(record, Outcome(JobState.CANCELLED))
            return
        attempt = record.job.attempts[-1].number
        if record.job.state is JobState.PAUSING:
            self._end_attempt(record, error)
            record.runner, record.lease_until = "", None
            record.job = replace(record.job, state=JobState.PAUSED)
            self._tell(record, attempt, [state_changed(JobState.PAUSED, attempt, error)])
            return
        record.lost_attempts += error is not None
        self._end_attempt(record, error)
        if error is not None and record.lost_attempts >= record.job.max_attempts:
            failure = exhausted(self._kind, record.job.id, record.lost_attempts, error)
            self._end(record, Outcome(JobState.FAILED, error=failure))
            return
        record.runner, record.lease_until = "", None
        state = JobState.CANCELLING if record.job.state is JobState.CANCELLING else JobState.QUEUED
        record.job = replace(record.job, state=state)
        self._tell(record, attempt, [state_changed(state, attempt, error)])

    def _end(self, record: _Record, outcome: Outcome) -> None:
        self._end_attempt(record, outcome.error)
        attempt = record.job.attempts[-1].number if record.job.attempts else 0
        record.runner, record.lease_until = "", None
        record.job = replace(
            record.job, state=outcome.state, result=outcome.result, error=outcome.error, end_time=self._now()
        )
        self._tell(record, attempt, [state_changed(outcome.state, attempt, outcome.error)])

    def _ask(self, record: _Record, state: JobState) -> None:
        attempt = record.job.attempts[-1].number if record.job.attempts else 0
        record.job = replace(record.job, state=state)
        self._tell(record, attempt, [state_changed(state, attempt)])

    def _held_by(self, owner: str) -> int:
        jobs = [record.job for record in self._records.values()]
        return sum(job.owner == owner and job.state in HELD_STATES for job in jobs)

    def _shown(self, record: _Record) -> Job:
        """The job with its place in the queue."""
        if record.job.state is not JobState.QUEUED:
            return record.job
        queued = [each for each in self._records.values() if each.job.state is JobState.QUEUED]
        return replace(record.job, queue_position=sorted(queued, key=_place).index(record) + 1)

    def _end_attempt(self, record: _Record, error: FlareError | None) -> None:
        if record.job.attempts and record.job.attempts[-1].end_time is None:
            *earlier, last = record.job.attempts
            ended = replace(last, end_time=self._now(), error=error)
            record.job = replace(record.job, attempts=(*earlier, ended))

    def _tell(self, record: _Record, attempt: int, drafts: Sequence[EventDraft]) -> None:
        for sequence, draft in enumerate(drafts, record.job.last_sequence + 1):
            record.events.append(Event(sequence, self._now(), attempt, draft.kind, draft.payload))
            record.job = replace(record.job, last_sequence=sequence)
        self._wakeups.notify(record.job.id)


def _place(record: _Record) -> tuple[int, datetime, str]:
    """What the queue goes by."""
    return -record.job.priority, record.job.create_time, record.job.id
