"""What every job store promises, held against each of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData

from servicekit.database import Database
from servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, OutOfRange, Reason, Unavailable
from servicekit.idempotency import RequestKey
from servicekit.jobs.follow import Heartbeat, JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.store import JobStore, Outcome
from servicekit.jobs.tables import job_tables
from servicekit.jobs.values import ClaimLost, Event, EventDraft, Job, JobState
from servicekit.jobs.wakeups import Wakeups

ANN = "accounts/ann"
BOB = "accounts/bob"
STEPS = ("claim", "append", "lose", "give_up", "lapse", "cancel", "keep", "pause", "resume", "finish")
LOST = Unavailable(Reason.DEPENDENCY_UNAVAILABLE, "the network went away")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wakeups() -> Wakeups:
    return Wakeups()


@pytest.fixture(params=["memory", "sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, wakeups: Wakeups
) -> AsyncIterator[JobStore]:
    if request.param == "memory":
        yield MemoryJobStore("trainingJobs", wakeups, clock)
        return
    metadata = MetaData()
    tables = job_tables(metadata)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/jobs.db")
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    yield SqlJobStore(database, tables, "trainingJobs", wakeups, clock)
    await database.close()


async def test_created_job_waits_with_its_first_event(store: JobStore) -> None:
    job = await store.create("a", ANN, {"model": "iris"}, 3)
    assert (job.state, job.last_sequence, job.spec) == (JobState.QUEUED, 1, {"model": "iris"})
    (event,) = await store.events("a", 0, 10)
    assert (event.sequence, event.kind, event.payload["state"]) == (1, "state_changed", "queued")
    assert await store.get(ANN, "a") == job


async def test_somebody_elses_job_answers_like_a_missing_one(store: JobStore) -> None:
    await store.create("a", ANN, {}, 3)
    messages = []
    for owner, job_id in ((BOB, "a"), (ANN, "b")):
        with pytest.raises(NotFound) as caught:
            await store.get(owner, job_id)
        messages.append(caught.value.message.replace(f"/{job_id}'", "/x'"))
        with pytest.raises(NotFound):
            await store.request_cancel(owner, job_id)
    assert messages[0] == messages[1]


async def test_repeated_request_returns_the_first_job(store: JobStore) -> None:
    key = RequestKey(ANN, "CreateTrainingJob", "6e1b", "same")
    first = await store.create("a", ANN, {}, 3, key)
    again = await store.create("b", ANN, {}, 3, key)
    assert again.id == first.id
    assert [job.id for job in await store.page(ANN, None, 10)] == ["a"]
    with pytest.raises(InvalidArgument) as caught:
        await store.create("c", ANN, {}, 3, RequestKey(ANN, "CreateTrainingJob", "6e1b", "other"))
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_jobs_are_claimed_in_order_and_once(store: JobStore) -> None:
    for name in "abc":
        await store.create(name, ANN, {}, 3)
    claims = [await store.claim("one", 60), await store.claim("two", 60), await store.claim("one", 60)]
    assert [claim.job.id for claim in claims if claim] == ["a", "b", "c"]
    assert await store.claim("two", 60) is None


async def test_pages_go_from_newest_to_oldest_without_repeat(store: JobStore) -> None:
    for name in "abcde":
        await store.create(name, ANN, {}, 3)
    await store.create("x", BOB, {}, 3)
    seen, before = [], None
    while page := await store.page(ANN, before, 2):
        seen += [job.id for job in page]
        before = (page[-1].create_time, page[-1].id)
    assert seen == ["e", "d", "c", "b", "a"]


async def test_events_and_progress_commit_together_and_are_numbered(store: JobStore) -> None:
    await store.create("a", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    await store.append(claim, [EventDraft("epoch", {"n": 1}), EventDraft("epoch", {"n": 2})], {"epochs": 2})
    await store.finish(claim, Outcome(JobState.SUCCEEDED, result={"version": 7}), [EventDraft("made")])
    events = await store.events("a", 0, 100)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.kind for event in events[2:]] == ["epoch", "epoch", "made", "state_changed"]
    assert events[-1].is_final
    assert [event.sequence for event in await store.events("a", 2, 3)] == [3, 4, 5]
    job = await store.get(ANN, "a")
    assert (job.state, job.progress, job.result) == (JobState.SUCCEEDED, {"epochs": 2}, {"version": 7})
    assert job.last_sequence == 6
    assert job.attempts[0].end_time is not None
    assert job.end_time is not None


async def test_a_runner_that_lost_its_lease_can_not_write(store: JobStore, clock: Clock) -> None:
    await store.create("a", ANN, {}, 3)
    old = await store.claim("one", 60)
    assert old is not None
    clock.advance(61)
    new = await store.claim("two", 60)
    assert new is not None
    assert new.attempt == old.attempt + 1
    for write in (
        store.append(old, [EventDraft("epoch")]),
        store.finish(old, Outcome(JobState.SUCCEEDED)),
        store.put_back(old, LOST),
    ):
        with pytest.raises(ClaimLost):
            await write
    with pytest.raises(ClaimLost):
        await store.renew(old, 60)
    await store.finish(new, Outcome(JobState.SUCCEEDED))
    job = await store.get(ANN, "a")
    assert [attempt.runner for attempt in job.attempts] == ["one", "two"]
    assert job.attempts[0].error is not None
    assert job.attempts[1].error is None


async def test_a_renewed_lease_holds(store: JobStore, clock: Clock) -> None:
    await store.create("a", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    clock.advance(50)
    assert (await store.renew(claim, 60)).state is JobState.RUNNING
    clock.advance(50)
    assert await store.claim("two", 60) is None


async def test_a_job_lost_too_often_fails_and_lists_each_cause(store: JobStore) -> None:
    await store.create("a", ANN, {}, 2)
    for _ in range(2):
        claim = await store.claim("one", 60)
        assert claim is not None
        await store.put_back(claim, LOST)
    job = await store.get(ANN, "a")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.reason is Reason.ATTEMPTS_EXHAUSTED
    assert [attempt.error.message for attempt in job.attempts if attempt.error] == [LOST.message, LOST.message]
    assert await store.claim("one", 60) is None


async def test_giving_a_job_up_on_purpose_costs_no_attempt(store: JobStore) -> None:
    await store.create("a", ANN, {}, 1)
    for _ in range(3):
        claim = await store.claim("one", 60)
        assert claim is not None
        await store.put_back(claim)
    assert (await store.get(ANN, "a")).state is JobState.QUEUED


async def test_a_restarted_runner_takes_back_its_own_jobs_at_once(store: JobStore) -> None:
    for name in "ab":
        await store.create(name, ANN, {}, 3)
    mine, other = await store.claim("one", 60), await store.claim("two", 60)
    assert mine
    assert other
    assert await store.take_back("one") == 1
    assert (await store.get(ANN, mine.job.id)).state is JobState.QUEUED
    assert (await store.get(ANN, other.job.id)).state is JobState.RUNNING


async def test_cancelling(store: JobStore) -> None:
    await store.create("running", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    await store.create("queued", ANN, {}, 3)
    assert (await store.request_cancel(ANN, "queued")).state is JobState.CANCELLED
    assert (await store.request_cancel(ANN, "running")).state is JobState.CANCELLING
    assert (await store.request_cancel(ANN, "running")).state is JobState.CANCELLING
    assert (await store.renew(claim, 60)).state is JobState.CANCELLING
    await store.finish(claim, Outcome(JobState.CANCELLED))
    assert (await store.request_cancel(ANN, "running")).state is JobState.CANCELLED
    assert (await store.events("queued", 0, 10))[-1].is_final
    assert [job.id for job in await store.unfinished(ANN)] == []
    await store.create("done", ANN, {}, 3)
    done = await store.claim("one", 60)
    assert done is not None
    await store.finish(done, Outcome(JobState.SUCCEEDED))
    with pytest.raises(FailedPrecondition) as caught:
        await store.request_cancel(ANN, "done")
    assert caught.value.reason is Reason.JOB_ENDED


async def test_a_job_whose_runner_died_while_cancelling_is_cancelled(store: JobStore, clock: Clock) -> None:
    await store.create("a", ANN, {}, 3)
    await store.claim("one", 60)
    await store.request_cancel(ANN, "a")
    clock.advance(61)
    assert await store.claim("two", 60) is None
    assert (await store.get(ANN, "a")).state is JobState.CANCELLED


@pytest.fixture(params=["memory", "sqlite"])
async def graceful_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, wakeups: Wakeups
) -> AsyncIterator[JobStore]:
    """Of a kind whose work is ended in good order, in tables beside those of another kind."""
    if request.param == "memory":
        yield MemoryJobStore("sweeps", wakeups, clock, graceful_cancel=True)
        return
    metadata = MetaData()
    job_tables(metadata)
    tables = job_tables(metadata, prefix="sweep_")
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/jobs.db")
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    yield SqlJobStore(database, tables, "sweeps", wakeups, clock, graceful_cancel=True)
    await database.close()


@pytest.mark.parametrize("how", ["lapse", "give_up", "lose", "take_back"])
async def test_a_job_that_is_to_keep_its_result_stays_cancelling_until_its_work_ends(
    store: JobStore, clock: Clock, how: str
) -> None:
    await store.create("a", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    await store.request_cancel(ANN, "a", keeps_result=True)
    if how == "lapse":
        clock.advance(61)
    elif how == "take_back":
        assert await store.take_back("one") == 1
    else:
        await store.put_back(claim, LOST if how == "lose" else None)
    again = await store.claim("two", 60)
    assert again is not None
    assert (again.job.state, again.job.keeps_result, again.attempt) == (JobState.CANCELLING, True, 2)
    await store.finish(again, Outcome(JobState.CANCELLED, result={"version": 1}))
    assert (await store.get(ANN, "a")).result == {"version": 1}


@pytest.mark.parametrize("waits", ["queued", "paused"])
async def test_a_begun_job_that_waits_is_given_an_attempt_to_keep_its_result(store: JobStore, waits: str) -> None:
    await store.create("new", ANN, {}, 3)
    assert (await store.request_cancel(ANN, "new", keeps_result=True)).state is JobState.CANCELLED  # nothing has begun
    await store.create("begun", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    if waits == "paused":
        await store.request_pause(ANN, "begun")
    await store.put_back(claim)
    assert (await store.get(ANN, "begun")).state == waits
    assert (await store.request_cancel(ANN, "begun", keeps_result=True)).state is JobState.CANCELLING
    again = await store.claim("two", 60)
    assert again is not None
    assert (again.job.id, again.job.state) == ("begun", JobState.CANCELLING)


@pytest.mark.parametrize("how", ["lapse", "give_up", "take_back"])
async def test_a_job_of_a_graceful_kind_stays_cancelling_until_its_work_ends(
    graceful_store: JobStore, clock: Clock, how: str
) -> None:
    store = graceful_store
    await store.create("a", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    await store.request_cancel(ANN, "a", keeps_result=True)
    if how == "lapse":
        clock.advance(61)
    elif how == "give_up":
        await store.put_back(claim)
    else:
        assert await store.take_back("one") == 1
    again = await store.claim("two", 60)
    assert again is not None
    assert (again.job.state, again.job.keeps_result, again.attempt) == (JobState.CANCELLING, True, 2)
    with pytest.raises(ClaimLost):
        await store.append(claim, [EventDraft("late")])
    assert await store.claim("three", 60) is None
    await store.finish(again, Outcome(JobState.CANCELLED, result={}))
    assert (await store.get(ANN, "a")).state is JobState.CANCELLED


async def test_a_job_of_a_graceful_kind_that_waits_for_another_attempt_is_given_one_to_end(
    graceful_store: JobStore,
) -> None:
    store = graceful_store
    await store.create("new", ANN, {}, 3)
    assert (await store.request_cancel(ANN, "new")).state is JobState.CANCELLED  # nothing of it has begun
    await store.create("begun", ANN, {}, 3)
    claim = await store.claim("one", 60)
    assert claim is not None
    await store.put_back(claim)
    assert (await store.request_cancel(ANN, "begun")).state is JobState.CANCELLING
    with pytest.raises(ClaimLost):
        await store.append(claim, [EventDraft("late")])
    again = await store.claim("one", 60)
    assert again is not None
    assert again.job.state is JobState.CANCELLING


async def test_a_job_that_waits_pauses_at_once_and_is_not_claimed_until_it_is_resumed(store: JobStore) -> None:
    await store.create("a", ANN, {}, 3)
    assert (await store.request_pause(ANN, "a")).state is JobState.PAUSED
    assert (await store.request_pause(ANN, "a")).state is JobState.PAUSED
    assert await store.claim("one", 60) is None
    assert [job.id for job in await store.unfinished(ANN)] == ["a"]
    assert (await store.resume(ANN, "a")).state is JobState.QUEUED
    assert await store.claim("one", 60) is not None


async def test_a_running_job_pauses_when_its_runner_puts_it_back_and_that_costs_no_attempt(store: JobStore) -> None:
    await store.create("a", ANN, {}, 1)
    for _ in range(3):
        claim = await store.claim("one", 60)
        assert claim is not None
        assert (await store.request_pause(ANN, "a")).state is JobState.PAUSING
        assert (await store.renew(claim, 60)).state is JobState.PAUSING
        with pytest.raises(FailedPrecondition) as refused:
            await store.resume(ANN, "a")
        assert refused.value.reason is Reason.JOB_NOT_PAUSED
        await store.put_back(claim)
        assert (await store.get(ANN, "a")).state is JobState.PAUSED
        await store.resume(ANN, "a")
    states = [event.payload["state"] for event in await store.events("a", 0, 100)]
    assert states == ["queued", *["running", "pausing", "paused", "queued"] * 3]


async def test_a_job_whose_runner_died_while_pausing_pauses(store: JobStore, clock: Clock) -> None:
    await store.create("a", ANN, {}, 1)
    await store.claim("one", 60)
    await store.request_pause(ANN, "a")
    clock.advance(61)
    assert await store.claim("two", 60) is None
    assert (await store.get(ANN, "a")).state is JobState.PAUSED


async def test_jobs_that_have_ended_are_told_whosever_they_are(store: JobStore) -> None:
    for job_id, owner in (("a", ANN), ("b", "accounts/bob"), ("c", ANN)):
        await store.create(job_id, owner, {}, 1)
    await store.request_cancel(ANN, "a")
    await store.request_cancel("accounts/bob", "b")
    assert await store.ended(["a", "b", "c", "none"]) == {"a", "b"}
    assert await store.ended([]) == set()


async def test_a_paused_job_can_be_cancelled_and_a_cancelled_one_not_paused(store: JobStore) -> None:
    await store.create("a", ANN, {}, 1)
    await store.request_pause(ANN, "a")
    assert (await store.request_cancel(ANN, "a")).state is JobState.CANCELLED
    await store.create("b", ANN, {}, 1)
    claim = await store.claim("one", 60)
    assert claim is not None
    await store.request_pause(ANN, "b")
    assert (await store.request_cancel(ANN, "b", keeps_result=True)).state is JobState.CANCELLING
    assert (await store.renew(claim, 60)).keeps_result
    for job_id in "ab":
        for refusing in (store.request_pause(ANN, job_id), store.resume(ANN, job_id)):
            with pytest.raises(FailedPrecondition):
                await refusing
    await store.finish(claim, Outcome(JobState.CANCELLED, result={"version": 1}))
    assert (await store.get(ANN, "b")).result == {"version": 1}


async def test_the_queue_goes_by_priority_then_age_and_tells_each_its_place(store: JobStore) -> None:
    for name, priority in (("a", 0), ("b", -5), ("c", 5), ("d", 0)):
        await store.create(name, ANN, {}, 3, None, priority)
    places = {job.id: job.queue_position for job in await store.page(ANN, None, 10)}
    assert places == {"c": 1, "a": 2, "d": 3, "b": 4}
    claimed = [await store.claim("one", 60) for _ in range(4)]
    assert [claim.job.id for claim in claimed if claim] == ["c", "a", "d", "b"]
    assert (await store.get(ANN, "c")).queue_position == 0


async def test_nobody_has_more_runners_than_the_limit_and_others_do_not_wait_for_them(store: JobStore) -> None:
    for name, owner in (("a", ANN), ("b", ANN), ("c", BOB)):
        await store.create(name, owner, {}, 3)
    first = await store.claim("one", 60, owner_limit=1)
    second = await store.claim("one", 60, owner_limit=1)
    assert first is not None
    assert second is not None
    assert [first.job.id, second.job.id] == ["a", "c"]
    assert await store.claim("one", 60, owner_limit=1) is None
    await store.finish(first, Outcome(JobState.SUCCEEDED))
    third = await store.claim("one", 60, owner_limit=1)
    assert third is not None
    assert third.job.id == "b"


async def test_jobs_whose_resource_is_unavailable_wait_and_hold_up_no_other(store: JobStore, clock: Clock) -> None:
    for name, resource in (("a", "cuda:0"), ("b", "cuda"), ("c", "")):
        await store.create(name, ANN, {}, 3, resource=resource)
    first = await store.claim("one", 60)
    assert first is not None
    assert (first.job.id, first.job.resource) == ("a", "cuda:0")
    taken = frozenset({"cuda:0", "cuda"})
    second = await store.claim("one", 3_600, 0, taken)
    assert second is not None
    assert second.job.id == "c"
    assert await store.claim("one", 60, 0, taken) is None
    clock.advance(61)  # the first runner died: its job waits for the resource too
    assert await store.claim("two", 60, 0, taken) is None
    assert (await store.get(ANN, "a")).state is JobState.QUEUED
    third = await store.claim("two", 60, 0, frozenset({"cuda:0"}))
    assert third is not None
    assert third.job.id == "b"


async def _followed(follower: JobFollower, after: int) -> list[Job | Event | Heartbeat]:
    return [message async for message in follower.follow(ANN, "a", after)]


async def test_following_from_any_sequence_misses_and_repeats_nothing(store: JobStore, wakeups: Wakeups) -> None:
    await store.create("a", ANN, {}, 3)
    follower = JobFollower(store, wakeups)
    live = [asyncio.create_task(_followed(follower, after)) for after in (0, 1)]
    claim = await store.claim("one", 60)
    assert claim is not None
    for number in range(5):
        await store.append(claim, [EventDraft("epoch", {"n": number})])
    await store.finish(claim, Outcome(JobState.SUCCEEDED))
    everything = [message for message in await live[0] if isinstance(message, Event)]
    assert [event.sequence for event in everything] == list(range(1, 9))
    assert [message.sequence for message in await live[1] if isinstance(message, Event)] == list(range(2, 9))
    for after in range(9):
        messages = await _followed(follower, after)
        assert isinstance(messages[0], Job)
        assert isinstance(messages[-1], Job)
        assert messages[-1].state is JobState.SUCCEEDED
        assert [m.sequence for m in messages if isinstance(m, Event)] == list(range(after + 1, 9))
    with pytest.raises(OutOfRange) as caught:
        await _followed(follower, 9)
    assert caught.value.reason is Reason.EVENTS_OUT_OF_RANGE


async def test_an_idle_follower_hears_heartbeats_and_is_told_when_the_server_drains(
    store: JobStore, wakeups: Wakeups
) -> None:
    await store.create("a", ANN, {}, 3)
    messages = JobFollower(store, wakeups, heartbeat_seconds=0.01).follow(ANN, "a", 0)
    assert isinstance(await anext(messages), Job)
    assert isinstance(await anext(messages), Event)
    assert await anext(messages) == Heartbeat(1)
    wakeups.close()
    with pytest.raises(Unavailable) as caught:
        await _exhausted(messages)
    assert caught.value.reason is Reason.SHUTTING_DOWN
    assert caught.value.metadata == {"after_sequence": "1"}


async def _exhausted(messages: AsyncIterator[Job | Event | Heartbeat]) -> None:
    async for _ in messages:
        pass


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=15), st.booleans())
async def test_both_stores_tell_the_same_story(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], graceful: bool
) -> None:
    """Whatever happens to a job, the twin tells the same events as the store on SQL."""
    metadata = MetaData()
    tables = job_tables(metadata)
    database = Database(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('twin')}/jobs.db")
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    stories: list[tuple[object, ...]] = []
    try:
        for clock in (Clock(), Clock()):
            stores: list[JobStore] = [
                MemoryJobStore("trainingJobs", Wakeups(), clock, graceful_cancel=graceful),
                SqlJobStore(database, tables, "trainingJobs", Wakeups(), clock, graceful_cancel=graceful),
            ]
            stories.append(await _story(stores[len(stories)], clock, steps))
    finally:
        await database.close()
    assert stories[0] == stories[1]


async def _story(store: JobStore, clock: Clock, steps: list[str]) -> tuple[object, ...]:
    await store.create("a", ANN, {}, 2)
    claim = None
    for step in steps:
        try:
            if step == "claim":
                claim = await store.claim("one", 60) or claim
            elif step == "cancel":
                await store.request_cancel(ANN, "a")
            elif step == "keep":
                await store.request_cancel(ANN, "a", keeps_result=True)
            elif step == "pause":
                await store.request_pause(ANN, "a")
            elif step == "resume":
                await store.resume(ANN, "a")
            elif step == "lapse":
                clock.advance(61)
            elif claim is None:
                continue
            elif step == "append":
                await store.append(claim, [EventDraft("epoch")], {"at": step})
            elif step == "lose":
                await store.put_back(claim, LOST)
            elif step == "give_up":
                await store.put_back(claim)
            else:
                await store.finish(claim, Outcome(JobState.SUCCEEDED, result={}))
        except (ClaimLost, FailedPrecondition):
            pass
    job = await store.get(ANN, "a")
    events = [(event.sequence, event.kind, event.attempt, event.payload) for event in await store.events("a", 0, 999)]
    attempts = [(attempt.number, attempt.end_time is None, attempt.error is None) for attempt in job.attempts]
    return job.state, job.progress, job.result, job.queue_position, attempts, events
