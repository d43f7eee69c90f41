"""How trackers are fed: from the logs of jobs, which never wait for them."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml_server.tracking import tracking as tracking_module
from ml_server.tracking.mlflow_tracker import MlflowTracker
from ml_server.tracking.opening import open_trackers
from ml_server.tracking.tensorboard_tracker import TensorBoardTracker
from ml_server.tracking.tracker import StateChanged, TrackedEvent, TrackedJob, Tracker
from ml_server.tracking.tracking import Tracking
from ml_server.training.events import VersionCreated, draft_of
from servicekit.errors import InvalidArgument, Reason, Unavailable
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.runner import JobRun, JobRunner, Work
from servicekit.jobs.values import Job, JobState, LostAttempt
from servicekit.jobs.wakeups import Wakeups
from tests.unit.tracking.tracked_jobs import SPEC, STARTED, TESTED, epoch

ANN = "accounts/ann"


class World:
    """Jobs of which event files tell."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.wakeups = Wakeups()
        self.store = MemoryJobStore("trainingJobs", self.wakeups)
        self.follower = JobFollower(self.store, self.wakeups)

    def tracking(self, tracker: Tracker | None = None, server: str = "one", retry_seconds: float = 60.0) -> Tracking:
        shown = tracker or TensorBoardTracker(self.directory / "runs")
        return Tracking(shown, self.store, self.wakeups, self.directory / server, retry_seconds)

    def runner(self, work: Work, name: str = "one") -> JobRunner:
        return JobRunner(self.store, self.wakeups, work, name=name, concurrency=1)

    async def create(self) -> None:
        await self.store.create("a", ANN, SPEC.to_json(), 3)

    async def until(self, state: JobState) -> Job:
        """The job as it is when it is in a state."""
        async for message in self.follower.follow(ANN, "a", 0):
            if isinstance(message, Job) and message.state is state:
                return message
            if not isinstance(message, Job) and (await self.store.get(ANN, "a")).state is state:
                return await self.store.get(ANN, "a")
        raise AssertionError(f"the job ended, and was never {state}")

    def scalars(self, tag: str = "loss/train") -> list[int]:
        """The steps of a series."""
        return [event.step for event in self._read().Scalars(tag)]

    def text(self, tag: str) -> list[str]:
        return [event.tensor_proto.string_val[0].decode() for event in self._read().Tensors(tag)]

    def places(self, server: str = "one") -> list[str]:
        """The jobs that a server would go on with."""
        return sorted(file.name for file in (self.directory / server).glob("*"))

    def _read(self) -> EventAccumulator:
        found = EventAccumulator(str(self.directory / "runs/tumours/a"), size_guidance={"scalars": 0, "tensors": 0})
        found.Reload()
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def three_epochs(run: JobRun) -> dict[str, Any]:
    await run.emit(draft_of(STARTED), draft_of(epoch(1)), draft_of(epoch(2)))
    await run.emit(draft_of(epoch(3)))
    await run.emit(draft_of(TESTED), draft_of(VersionCreated("models/tumours/versions/1")))
    return {"version": "models/tumours/versions/1"}


class Outside:
    """A tracker whose world is away for a while, or for ever."""

    name = "outside"

    def __init__(self, inner: Tracker, failures: float = float("inf")) -> None:
        self._inner = inner
        self._failures = failures
        self.saw_end = threading.Event()
        self.attempts: set[int] = set()
        """Those of which it was told."""

    def write(self, job: TrackedJob, events: Sequence[TrackedEvent]) -> None:
        if self._failures > 0:
            self._failures -= 1
            raise ConnectionError("no route to host")
        self._inner.write(job, events)
        self.attempts |= {event.attempt for event in events}
        if any(isinstance(each.content, StateChanged) and each.content.state.is_final for each in events):
            self.saw_end.set()

    def leave(self, job: TrackedJob) -> None:
        self._inner.leave(job)


async def test_a_job_is_shown_from_its_first_event_to_its_last(world: World) -> None:
    tracking = world.tracking()
    runner = world.runner(tracking.of(three_epochs))
    await world.create()
    await runner.start()
    await world.until(JobState.SUCCEEDED)
    await runner.drain()
    await tracking.drain()
    assert world.scalars() == [1, 2, 3]
    assert world.text("version") == ["models/tumours/versions/1"]
    assert world.text("ended") == ["succeeded"]
    assert world.places() == []


async def test_a_tracker_that_fails_harms_no_job_and_the_next_server_shows_it_all(world: World) -> None:
    tracking = world.tracking(Outside(TensorBoardTracker(world.directory / "runs")))
    runner = world.runner(tracking.of(three_epochs))
    await world.create()
    with capture_logs() as logs:
        await runner.start()
        await world.until(JobState.SUCCEEDED)
        await runner.drain()
        await tracking.drain()
    warning = next(entry for entry in logs if entry["event"] == "tracking_failed")
    assert (warning["log_level"], warning["tracker"], warning["job"]) == ("warning", "outside", "a")
    assert "no route to host" in warning["error"]
    assert world.places() == ["a.json"]

    restarted = world.tracking()
    await restarted.start()
    await restarted.drain()
    assert world.scalars() == [1, 2, 3]
    assert world.text("ended") == ["succeeded"]
    assert world.places() == []


async def test_a_tracker_that_was_away_is_told_what_it_missed(world: World) -> None:
    outside = Outside(TensorBoardTracker(world.directory / "runs"), failures=3)
    tracking = world.tracking(outside, retry_seconds=0.001)
    runner = world.runner(tracking.of(three_epochs))
    await world.create()
    await runner.start()
    assert await asyncio.to_thread(outside.saw_end.wait, 60)
    await runner.drain()
    await tracking.drain()
    assert world.scalars() == [1, 2, 3]


async def test_a_server_of_mlflow_that_does_not_answer_harms_no_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tracker,) = open_trackers(None, "http://127.0.0.1:9", "flare")
    assert isinstance(tracker, MlflowTracker)
    tracking = world.tracking(tracker)
    runner = world.runner(tracking.of(three_epochs))
    await world.create()
    with capture_logs() as logs:
        await runner.start()
        await world.until(JobState.SUCCEEDED)
        await runner.drain()
        await tracking.drain()
    assert any(entry["event"] == "tracking_failed" and entry["tracker"] == "mlflow" for entry in logs)
    assert world.places() == ["a.json"]


class Stuck:
    """A tracker whose world takes calls and does not answer."""

    name = "stuck"

    def __init__(self) -> None:
        self.answers = threading.Event()

    def write(self, job: TrackedJob, events: Sequence[TrackedEvent]) -> None:
        self.answers.wait()

    def leave(self, job: TrackedJob) -> None:
        self.answers.wait()


async def test_a_tracker_that_hangs_keeps_neither_a_job_nor_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "DRAIN_SECONDS", 0.05)
    stuck = Stuck()
    tracking = world.tracking(stuck)
    runner = world.runner(tracking.of(three_epochs))
    await world.create()
    await runner.start()
    await world.until(JobState.SUCCEEDED)
    await runner.drain()
    await tracking.drain()
    assert world.places() == ["a.json"]
    stuck.answers.set()


async def test_a_second_attempt_goes_on_in_the_same_run(world: World) -> None:
    async def lost_once(run: JobRun) -> dict[str, Any]:
        if run.attempt == 1:
            await run.emit(draft_of(STARTED), draft_of(epoch(1)))
            raise LostAttempt(Unavailable(Reason.DEPENDENCY_UNAVAILABLE, "the worker died"))
        await run.emit(draft_of(STARTED), draft_of(epoch(2)), draft_of(epoch(3)))
        raise InvalidArgument(Reason.TRAINING_DIVERGED, "the loss became nan")

    tracking = world.tracking()
    runner = world.runner(tracking.of(lost_once))
    await world.create()
    await runner.start()
    await world.until(JobState.FAILED)
    await runner.drain()
    await tracking.drain()
    assert world.scalars() == [1, 2, 3]
    assert len(world.text("attempt")) == 2
    assert world.text("ended") == ["failed: the loss became nan"]
    assert world.places() == []


async def test_a_job_that_another_server_goes_on_with_is_shown_by_that_alone(world: World) -> None:
    told = asyncio.Event()

    async def endless(run: JobRun) -> dict[str, Any]:
        await run.emit(draft_of(STARTED), draft_of(epoch(1)))
        told.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def rest(run: JobRun) -> dict[str, Any]:
        await run.emit(draft_of(epoch(2)), draft_of(epoch(3)))
        return {}

    shown = [Outside(TensorBoardTracker(world.directory / "runs"), failures=0) for _ in range(2)]
    first, second = world.tracking(shown[0]), world.tracking(shown[1], server="two")
    one, two = world.runner(first.of(endless)), world.runner(second.of(rest), "two")
    await world.create()
    await one.start()
    await told.wait()
    await one.drain()
    await two.start()
    await world.until(JobState.SUCCEEDED)
    await two.drain()
    await first.drain()
    await second.drain()
    assert shown[0].attempts == {0, 1}
    assert sorted(world.scalars()) == [1, 2, 3]  # read from two files, of which either may be the first
    assert world.text("ended") == ["succeeded"]
    assert world.places() == world.places("two") == []


async def test_what_a_server_writes_as_it_drains_is_shown_and_its_successor_goes_on(world: World) -> None:
    told = asyncio.Event()

    async def saves_at_its_end(run: JobRun) -> dict[str, Any]:
        if run.attempt == 2:
            return await three_epochs(run)
        await run.emit(draft_of(STARTED), draft_of(epoch(1)))
        told.set()
        try:
            await asyncio.Event().wait()
        finally:
            await run.emit(draft_of(epoch(2)))
        raise AssertionError

    tracking = world.tracking()
    runner = world.runner(tracking.of(saves_at_its_end))
    await world.create()
    await runner.start()
    await told.wait()
    await runner.drain()
    await tracking.drain()
    assert world.scalars() == [1, 2]
    assert world.places() == ["a.json"]

    again = world.tracking()
    successor = world.runner(again.of(saves_at_its_end))
    await again.start()
    await successor.start()
    await world.until(JobState.SUCCEEDED)
    await successor.drain()
    await again.drain()
    assert world.scalars() == [1, 2, 3]
    assert world.text("ended") == ["succeeded"]
    assert world.places() == []


async def test_a_paused_job_that_is_cancelled_has_its_end_shown(world: World) -> None:
    told = asyncio.Event()

    async def endless(run: JobRun) -> dict[str, Any]:
        await run.emit(draft_of(STARTED), draft_of(epoch(1)))
        told.set()
        await asyncio.Event().wait()
        raise AssertionError

    tracking = world.tracking()
    runner = world.runner(tracking.of(endless))
    await world.create()
    await runner.start()
    await told.wait()
    await world.store.request_pause(ANN, "a")
    await world.until(JobState.PAUSED)
    await world.store.request_cancel(ANN, "a")
    await runner.drain()
    await tracking.drain()
    assert world.text("ended") == ["cancelled"]
    assert world.places() == []
