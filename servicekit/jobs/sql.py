"""The job store on SQL. Each method is one transaction."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.errors import FlareError
from servicekit.idempotency import RequestKey, remember, remembered
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
from servicekit.jobs.tables import JobTables
from servicekit.jobs.values import (
    FINAL_STATES,
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


def utc_now() -> datetime:
    """The clock that stores use unless a test gives them another."""
    return datetime.now(UTC)


class SqlJobStore:
    """Jobs in the tables of one service. Keeps the rules that JobStore states."""

    def __init__(
        self,
        database: Database,
        tables: JobTables,
        kind: str,
        wakeups: Wakeups,
        now: Callable[[], datetime] = utc_now,
        *,
        graceful_cancel: bool = False,
    ) -> None:
        """`kind` is the collection that names the jobs, such as `trainingJobs`; JobStore tells of `graceful_cancel`."""
        self._database = database
        self._tables = tables
        self._kind = kind
        self._wakeups = wakeups
        self._now = now
        self._graceful_cancel = graceful_cancel

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
        async with self._database.write() as connection:
            known = await remembered(connection, self._tables.requests, request)
            if known is None:
                await connection.execute(
                    insert(self._tables.jobs).values(
                        id=job_id,
                        owner=owner,
                        spec=spec,
                        state=JobState.QUEUED,
                        attempt=0,
                        lost_attempts=0,
                        max_attempts=max_attempts,
                        last_sequence=0,
                        create_time=self._now(),
                        priority=priority,
                        resource=resource,
                    )
                )
                await self._tell(connection, job_id, 0, [state_changed(JobState.QUEUED, 0)])
                await remember(connection, self._tables.requests, request, job_id)
            job = await self._job(connection, owner, known or job_id)
        self._wakeups.notify(QUEUE)
        return job

    async def get(self, owner: str, job_id: str) -> Job:
        """As JobStore says."""
        async with self._database.read() as connection:
            return await self._job(connection, owner, job_id)

    async def page(self, owner: str, before: Cursor | None, limit: int) -> list[Job]:
        """As JobStore says."""
        jobs = self._tables.jobs.c
        query = select(self._tables.jobs).where(jobs.owner == owner)
        if before is not None:
            time, job_id = before
            query = query.where(or_(jobs.create_time < time, and_(jobs.create_time == time, jobs.id < job_id)))
        query = query.order_by(jobs.create_time.desc(), jobs.id.desc()).limit(limit)
        async with self._database.read() as connection:
            return [await self._with_attempts(connection, row) for row in await connection.execute(query)]

    async def unfinished(self, owner: str) -> list[Job]:
        """As JobStore says."""
        jobs = self._tables.jobs.c
        query = select(self._tables.jobs).where(jobs.owner == owner, jobs.state.not_in(FINAL_STATES))
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(jobs.create_time))
            return [await self._with_attempts(connection, row) for row in rows]

    async def ended(self, job_ids: Sequence[str]) -> set[str]:
        """As JobStore says."""
        jobs = self._tables.jobs.c
        query = select(jobs.id).where(jobs.id.in_(job_ids), jobs.state.in_(FINAL_STATES))
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        """As JobStore says."""
        events = self._tables.events.c
        query = select(self._tables.events).where(events.job_id == job_id, events.sequence > after)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(events.sequence).limit(limit))
            return [Event(row.sequence, row.time, row.attempt, row.kind, row.payload) for row in rows]

    async def request_cancel(self, owner: str, job_id: str, *, keeps_result: bool = False) -> Job:
        """As JobStore says."""
        async with self._database.write() as connection:
            job = await self._job(connection, owner, job_id)
            waits = job.state in (JobState.QUEUED, JobState.PAUSED)
            if waits and not (job.attempts and (keeps_result or self._graceful_cancel)):
                await self._end(connection, job_id, len(job.attempts), Outcome(JobState.CANCELLED))
            elif waits or job.state in (JobState.RUNNING, JobState.PAUSING):
                await self._set(connection, job_id, keeps_result=keeps_result)
                await self._ask(connection, job, JobState.CANCELLING)
            elif job.state in (JobState.SUCCEEDED, JobState.FAILED):
                raise already_ended(self._kind, job)
            job = await self._job(connection, owner, job_id)
        self._wakeups.notify(job_id)
        if waits:
            self._wakeups.notify(QUEUE)
        return job

    async def request_pause(self, owner: str, job_id: str) -> Job:
        """As JobStore says."""
        async with self._database.write() as connection:
            job = await self._job(connection, owner, job_id)
            if job.state.is_final:
                raise already_ended(self._kind, job)
            if job.state is JobState.CANCELLING:
                raise being_cancelled(self._kind, job)
            if job.state is JobState.QUEUED:
                await self._ask(connection, job, JobState.PAUSED)
            elif job.state is JobState.RUNNING:
                await self._ask(connection, job, JobState.PAUSING)
            job = await self._job(connection, owner, job_id)
        self._wakeups.notify(job_id)
        return job

    async def resume(self, owner: str, job_id: str) -> Job:
        """As JobStore says."""
        async with self._database.write() as connection:
            job = await self._job(connection, owner, job_id)
            if job.state.is_final:
                raise already_ended(self._kind, job)
            if job.state is not JobState.PAUSED:
                raise not_paused(self._kind, job)
            await self._ask(connection, job, JobState.QUEUED)
            job = await self._job(connection, owner, job_id)
        self._wakeups.notify(job_id)
        self._wakeups.notify(QUEUE)
        return job

    async def claim(
        self, runner: str, lease_seconds: float, owner_limit: int = 0, unavailable: frozenset[str] = frozenset()
    ) -> Claim | None:
        """As JobStore says."""
        jobs = self._tables.jobs.c
        now = self._now()
        is_free = jobs.resource.not_in(unavailable)
        is_waiting = and_(jobs.state == JobState.QUEUED, is_free)
        if owner_limit:
            held = self._tables.jobs.alias().c
            busy = select(held.owner).where(held.state.in_(HELD_STATES)).group_by(held.owner)
            is_waiting = and_(is_waiting, jobs.owner.not_in(busy.having(func.count() >= owner_limit)))
        # SKIP LOCKED lets the runners of several servers claim without waiting for each other; SQLite has one writer
        # at a time anyhow and leaves the clause out.
        waiting = (
            select(self._tables.jobs)
            .where(
                or_(
                    is_waiting,
                    and_(
                        jobs.state.in_(HELD_STATES), or_(and_(jobs.runner.is_(None), is_free), jobs.lease_until < now)
                    ),
                )
            )
            .order_by(jobs.priority.desc(), jobs.create_time, jobs.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        changed: list[str] = []
        try:
            async with self._database.write() as connection:
                while row := (await connection.execute(waiting)).one_or_none():
                    changed.append(row.id)
                    lapsed = row.state in HELD_STATES and row.runner is not None
                    if lapsed and await self._lose(connection, row, runner_died(row.runner)):
                        continue
                    if row.resource in unavailable:
                        continue
                    attempt = row.attempt + 1
                    state = JobState.CANCELLING if row.state == JobState.CANCELLING else JobState.RUNNING
                    await self._set(
                        connection,
                        row.id,
                        state=state,
                        attempt=attempt,
                        runner=runner,
                        lease_until=now + timedelta(seconds=lease_seconds),
                        start_time=row.start_time or now,
                    )
                    await connection.execute(
                        insert(self._tables.attempts).values(
                            job_id=row.id, number=attempt, runner=runner, start_time=now
                        )
                    )
                    await self._tell(connection, row.id, attempt, [state_changed(state, attempt)])
                    return Claim(await self._job(connection, row.owner, row.id), attempt, runner)
            return None
        finally:
            for job_id in changed:
                self._wakeups.notify(job_id)

    async def renew(self, claim: Claim, lease_seconds: float) -> Job:
        """As JobStore says."""
        async with self._database.write() as connection:
            await self._held(connection, claim)
            await self._set(connection, claim.job.id, lease_until=self._now() + timedelta(seconds=lease_seconds))
            return await self._job(connection, claim.job.owner, claim.job.id)

    async def append(self, claim: Claim, drafts: Sequence[EventDraft], progress: dict[str, Any] | None = None) -> None:
        """As JobStore says."""
        async with self._database.write() as connection:
            await self._held(connection, claim)
            if progress is not None:
                await self._set(connection, claim.job.id, progress=progress)
            await self._tell(connection, claim.job.id, claim.attempt, drafts)
        self._wakeups.notify(claim.job.id)

    async def finish(self, claim: Claim, outcome: Outcome, drafts: Sequence[EventDraft] = ()) -> None:
        """As JobStore says."""
        async with self._database.write() as connection:
            await self._held(connection, claim)
            await self._tell(connection, claim.job.id, claim.attempt, drafts)
            await self._end(connection, claim.job.id, claim.attempt, outcome)
        self._wakeups.notify(claim.job.id)

    async def put_back(self, claim: Claim, error: FlareError | None = None) -> None:
        """As JobStore says."""
        async with self._database.write() as connection:
            await self._lose(connection, await self._held(connection, claim), error)
        self._wakeups.notify(claim.job.id)
        self._wakeups.notify(QUEUE)

    async def take_back(self, runner: str) -> int:
        """As JobStore says."""
        jobs = self._tables.jobs.c
        held = select(self._tables.jobs).where(jobs.runner == runner, jobs.state.in_(HELD_STATES))
        async with self._database.write() as connection:
            rows = (await connection.execute(held)).all()
            for row in rows:
                await self._lose(connection, row, runner_died(runner))
        for row in rows:
            self._wakeups.notify(row.id)
        return len(rows)

    async def _held(self, connection: AsyncConnection, claim: Claim) -> Row[Any]:
        """The row of a job that the claim still holds, locked until the transaction ends."""
        jobs = self._tables.jobs.c
        query = select(self._tables.jobs).where(
            jobs.id == claim.job.id,
            jobs.attempt == claim.attempt,
            jobs.state.in_(HELD_STATES),
            jobs.runner.is_not(None),
        )
        row = (await connection.execute(query.with_for_update())).one_or_none()
        if row is None:
            raise ClaimLost(claim.job.id)
        return row

    async def _lose(self, connection: AsyncConnection, row: Row[Any], error: FlareError | None) -> bool:
        """Ends a job's attempt without its result. True if the job does not wait for another one."""
        if row.state == JobState.CANCELLING and not (row.keeps_result or self._graceful_cancel):
            await self._end(connection, row.id, row.attempt, Outcome(JobState.CANCELLED))
            return True
        if row.state == JobState.PAUSING:
            await self._end_attempt(connection, row.id, row.attempt, error)
            await self._set(connection, row.id, state=JobState.PAUSED, runner=None, lease_until=None)
            await self._tell(connection, row.id, row.attempt, [state_changed(JobState.PAUSED, row.attempt, error)])
            return True
        lost = row.lost_attempts + (error is not None)
        await self._set(connection, row.id, lost_attempts=lost)
        if error is not None and lost >= row.max_attempts:
            await self._end_attempt(connection, row.id, row.attempt, error)
            failure = exhausted(self._kind, row.id, lost, error)
            await self._end(connection, row.id, row.attempt, Outcome(JobState.FAILED, error=failure))
            return True
        await self._end_attempt(connection, row.id, row.attempt, error)
        state = JobState.CANCELLING if row.state == JobState.CANCELLING else JobState.QUEUED
        await self._set(connection, row.id, state=state, runner=None, lease_until=None)
        await self._tell(connection, row.id, row.attempt, [state_changed(state, row.attempt, error)])
        return False

    async def _end(self, connection: AsyncConnection, job_id: str, attempt: int, outcome: Outcome) -> None:
        await self._end_attempt(connection, job_id, attempt, outcome.error)
        await self._set(
            connection,
            job_id,
            state=outcome.state,
            result=outcome.result,
            error=outcome.error.to_json() if outcome.error else None,
            runner=None,
            lease_until=None,
            end_time=self._now(),
        )
        await self._tell(connection, job_id, attempt, [state_changed(outcome.state, attempt, outcome.error)])

    async def _ask(self, connection: AsyncConnection, job: Job, state: JobState) -> None:
        """Moves a job to another state because somebody asked for it."""
        attempt = job.attempts[-1].number if job.attempts else 0
        await self._set(connection, job.id, state=state)
        await self._tell(connection, job.id, attempt, [state_changed(state, attempt)])

    async def _end_attempt(
        self, connection: AsyncConnection, job_id: str, attempt: int, error: FlareError | None
    ) -> None:
        attempts = self._tables.attempts
        await connection.execute(
            update(attempts)
            .where(attempts.c.job_id == job_id, attempts.c.number == attempt, attempts.c.end_time.is_(None))
            .values(end_time=self._now(), error=error.to_json() if error else None)
        )

    async def _set(self, connection: AsyncConnection, job_id: str, **values: Any) -> None:
        await connection.execute(update(self._tables.jobs).where(self._tables.jobs.c.id == job_id).values(**values))

    async def _tell(self, connection: AsyncConnection, job_id: str, attempt: int, drafts: Sequence[EventDraft]) -> None:
        """Numbers events and adds them. The counter in the job's row keeps two writers from one number."""
        if not drafts:
            return
        jobs = self._tables.jobs
        counted = (
            update(jobs)
            .where(jobs.c.id == job_id)
            .values(last_sequence=jobs.c.last_sequence + len(drafts))
            .returning(jobs.c.last_sequence)
        )
        first = (await connection.execute(counted)).scalar_one() - len(drafts) + 1
        now = self._now()
        rows = [
            {
                "job_id": job_id,
                "sequence": sequence,
                "time": now,
                "attempt": attempt,
                "kind": draft.kind,
                "payload": draft.payload,
            }
            for sequence, draft in enumerate(drafts, first)
        ]
        await connection.execute(insert(self._tables.events), rows)

    async def _job(self, connection: AsyncConnection, owner: str, job_id: str) -> Job:
        jobs = self._tables.jobs
        row = (await connection.execute(select(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner))).one_or_none()
        if row is None:
            raise no_such_job(self._kind, job_id)
        return await self._with_attempts(connection, row)

    async def _with_attempts(self, connection: AsyncConnection, row: Row[Any]) -> Job:
        attempts = self._tables.attempts
        found = await connection.execute(
            select(attempts).where(attempts.c.job_id == row.id).order_by(attempts.c.number)
        )
        return Job(
            id=row.id,
            owner=row.owner,
            spec=row.spec,
            state=JobState(row.state),
            max_attempts=row.max_attempts,
            create_time=row.create_time,
            last_sequence=row.last_sequence,
            progress=row.progress,
            result=row.result,
            error=_error(row.error),
            attempts=tuple(
                Attempt(each.number, each.runner, each.start_time, each.end_time, _error(each.error)) for each in found
            ),
            start_time=row.start_time,
            end_time=row.end_time,
            priority=row.priority,
            keeps_result=row.keeps_result,
            resource=row.resource,
            queue_position=await self._position(connection, row) if row.state == JobState.QUEUED else 0,
        )

    async def _position(self, connection: AsyncConnection, row: Row[Any]) -> int:
        """The place of a job that waits, from 1."""
        jobs = self._tables.jobs.c
        is_before = or_(
            jobs.priority > row.priority,
            and_(jobs.priority == row.priority, jobs.create_time < row.create_time),
            and_(jobs.priority == row.priority, jobs.create_time == row.create_time, jobs.id < row.id),
        )
        before = select(func.count()).select_from(self._tables.jobs).where(jobs.state == JobState.QUEUED, is_before)
        return (await connection.execute(before)).scalar_one() + 1


def _error(value: dict[str, Any] | None) -> FlareError | None:
    return FlareError.from_json(value) if value is not None else None
