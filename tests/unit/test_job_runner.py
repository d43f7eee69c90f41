"""The runner of durable jobs: how work ends, and what is written of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from servicekit.errors import InvalidArgument, Reason, Unavailable
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.runner import JobRun, JobRunner
from servicekit.jobs.values import Event, EventDraft, Job, JobState, LostAttempt
from servicekit.jobs.wakeups import Wakeups

ANN = "accounts/ann"
Work = Callable[[JobRun], Awaitable[dict[str, Any]]]


class Fixture:
    """A store with one runner on it."""

    def __init__(self, work: Work, concurrency: int = 1) -> None:
        self.wakeups = Wakeups()
        self.store = MemoryJobStore("trainingJobs", self.wakeups)
        self.runner = JobRunner(self.store, self.wakeups, work, name="one", concurrency=concurrency)
        self.follower = JobFollower(self.store, self.wakeups)

    async def ended(self, job_id: str) -> tuple[Job, list[Event]]:
        """The job after its end, with all its events."""
        messages = [message async for message in self.follower.follow(ANN, job_id, 0)]
        last = messages[-1]
        assert isinstance(last, Job)
        return last, [message for message in messages if isinstance(message, Event)]


@asynccontextmanager
async def running(work: Work, concurrency: int = 1) -> AsyncIterator[Fixture]:
    fixture = Fixture(work, concurrency)
    await fixture.runner.start()
    yield fixture
    await fixture.runner.drain()


async def test_work_that_returns_succeeds_with_its_result_and_events() -> None:
    async def work(run: JobRun) -> dict[str, Any]:
        await run.emit(EventDraft("epoch", {"n": run.job.spec["epochs"]}), progress={"done": 1})
        return {"version": 3}

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {"epochs": 7}, 3)
        job, events = await fixture.ended("a")
    assert (job.state, job.result, job.progress) == (JobState.SUCCEEDED, {"version": 3}, {"done": 1})
    assert [event.kind for event in events] == ["state_changed", "state_changed", "epoch", "state_changed"]
    assert events[2].payload == {"n": 7}


async def test_a_fault_of_the_input_fails_at_once() -> None:
    async def work(run: JobRun) -> dict[str, Any]:
        raise InvalidArgument(Reason.TRAINING_DIVERGED, "the loss became nan")

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 3)
        job, _ = await fixture.ended("a")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.reason is Reason.TRAINING_DIVERGED
    assert len(job.attempts) == 1


async def test_an_unforeseen_error_fails_without_telling_our_insides() -> None:
    async def work(run: JobRun) -> dict[str, Any]:
        raise KeyError("secret table name")

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 3)
        job, _ = await fixture.ended("a")
    assert job.error is not None
    assert job.error.reason is Reason.INTERNAL
    assert "secret" not in job.error.message


async def test_a_lost_attempt_is_made_again_until_it_succeeds() -> None:
    async def work(run: JobRun) -> dict[str, Any]:
        if run.attempt < 3:
            raise LostAttempt(Unavailable(Reason.DEPENDENCY_UNAVAILABLE, f"worker {run.attempt} died"))
        return {"attempt": run.attempt}

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 3)
        job, _ = await fixture.ended("a")
    assert job.result == {"attempt": 3}
    assert [attempt.error.message if attempt.error else None for attempt in job.attempts] == [
        "worker 1 died",
        "worker 2 died",
        None,
    ]


async def test_cancelling_reaches_the_work_and_is_written_after_it_has_cleaned_up() -> None:
    started, cleaned = asyncio.Event(), []

    async def work(run: JobRun) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(run.job.id)
        return {}

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 3)
        await started.wait()
        await fixture.store.request_cancel(ANN, "a")
        job, _ = await fixture.ended("a")
        assert job.state is JobState.CANCELLED
        assert cleaned == ["a"]


async def test_draining_puts_the_job_back_and_the_next_runner_goes_on() -> None:
    started = asyncio.Event()

    async def endless(run: JobRun) -> dict[str, Any]:
        started.set()
        await asyncio.Event().wait()
        return {}

    async def quick(run: JobRun) -> dict[str, Any]:
        return {"attempt": run.attempt}

    fixture = Fixture(endless)
    await fixture.runner.start()
    await fixture.store.create("a", ANN, {}, 1)
    await started.wait()
    await fixture.runner.drain()
    assert (await fixture.store.get(ANN, "a")).state is JobState.QUEUED
    successor = JobRunner(fixture.store, fixture.wakeups, quick, name="two", concurrency=1)
    await successor.start()
    job, _ = await fixture.ended("a")
    await successor.drain()
    assert job.result == {"attempt": 2}


async def test_no_more_jobs_run_at_a_time_than_allowed() -> None:
    running_now, most = 0, 0

    async def work(run: JobRun) -> dict[str, Any]:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        for _ in range(5):
            await asyncio.sleep(0)
        running_now -= 1
        return {}

    async with running(work, concurrency=2) as fixture:
        for name in "abcdef":
            await fixture.store.create(name, ANN, {}, 3)
        for name in "abcdef":
            await fixture.ended(name)
    assert most == 2


async def test_a_paused_job_ends_its_work_and_goes_on_when_it_is_resumed() -> None:
    started, attempts = asyncio.Event(), list[bool]()

    async def work(run: JobRun) -> dict[str, Any]:
        started.set()
        if run.attempt == 2:
            return {"attempt": 2}
        try:
            await asyncio.Event().wait()
        finally:
            attempts.append(run.is_abandoned)
        raise AssertionError("unreachable")

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 1)
        await started.wait()
        await fixture.store.request_pause(ANN, "a")
        states = []
        async for message in fixture.follower.follow(ANN, "a", 0):
            if isinstance(message, Event):
                states.append(message.payload["state"])
                if states[-1] == "paused":
                    await fixture.store.resume(ANN, "a")
        job = await fixture.store.get(ANN, "a")
    assert attempts == [False]  # somebody will go on with it
    assert states == ["queued", "running", "pausing", "paused", "queued", "running", "succeeded"]
    assert job.result == {"attempt": 2}


async def test_a_cancelled_job_that_keeps_its_result_is_asked_to_finish_and_not_broken() -> None:
    started = asyncio.Event()

    async def work(run: JobRun) -> dict[str, Any]:
        started.set()
        await run.finish_requested.wait()
        return {"version": 1}

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 1)
        await started.wait()
        await fixture.store.request_cancel(ANN, "a", keeps_result=True)
        job, _ = await fixture.ended("a")
    assert (job.state, job.result) == (JobState.CANCELLED, {"version": 1})


async def test_a_job_that_is_to_keep_its_result_is_ended_by_the_next_runner_if_this_one_drains() -> None:
    started, abandoned, told = asyncio.Event(), list[bool](), list[bool]()

    async def slow(run: JobRun) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            abandoned.append(run.is_abandoned)
        raise AssertionError("unreachable")

    async def ending(run: JobRun) -> None:
        told.append(run.finish_requested.is_set() and run.keeps_result)  # from its first moment on

    wakeups = Wakeups()
    store = MemoryJobStore("trainingJobs", wakeups)
    runner = JobRunner(store, wakeups, slow, name="one", concurrency=1)
    await runner.start()
    await store.create("a", ANN, {}, 1)
    await started.wait()
    await store.request_cancel(ANN, "a", keeps_result=True)
    await runner.drain()
    assert (await store.get(ANN, "a")).state is JobState.CANCELLING
    assert abandoned == [False]  # somebody will go on with it
    successor = JobRunner(store, wakeups, ending, name="two", concurrency=1)
    await successor.start()
    async for message in JobFollower(store, wakeups).follow(ANN, "a", 0):
        job = message
    await successor.drain()
    assert isinstance(job, Job)
    assert (job.state, job.result, told) == (JobState.CANCELLED, None, [True])


async def test_work_of_a_cancelled_job_knows_that_nobody_goes_on_with_it() -> None:
    started, abandoned = asyncio.Event(), list[bool]()

    async def work(run: JobRun) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            abandoned.append(run.is_abandoned)
        raise AssertionError("unreachable")

    async with running(work) as fixture:
        await fixture.store.create("a", ANN, {}, 1)
        await started.wait()
        await fixture.store.request_cancel(ANN, "a")
        job, _ = await fixture.ended("a")
    assert (job.state, abandoned) == (JobState.CANCELLED, [True])


async def test_work_of_a_graceful_kind_is_never_broken_and_the_next_runner_ends_it() -> None:
    started, told = asyncio.Event(), list[bool]()

    async def endless(run: JobRun) -> dict[str, Any]:
        started.set()
        await run.finish_requested.wait()
        await asyncio.Event().wait()
        return {}

    async def ending(run: JobRun) -> dict[str, Any]:
        told.append(run.finish_requested.is_set() and not run.keeps_result)  # from its first moment on
        return {"attempt": run.attempt}

    wakeups = Wakeups()
    store = MemoryJobStore("sweeps", wakeups, graceful_cancel=True)
    runner = JobRunner(store, wakeups, endless, name="one", concurrency=1, graceful_cancel=True)
    await runner.start()
    await store.create("a", ANN, {}, 1)
    await started.wait()
    await store.request_cancel(ANN, "a")
    await runner.drain()
    assert (await store.get(ANN, "a")).state is JobState.CANCELLING
    successor = JobRunner(store, wakeups, ending, name="two", concurrency=1, graceful_cancel=True)
    await successor.start()
    async for message in JobFollower(store, wakeups).follow(ANN, "a", 0):
        job = message
    await successor.drain()
    assert isinstance(job, Job)
    assert (job.state, job.result, told) == (JobState.CANCELLED, {"attempt": 2}, [True])
