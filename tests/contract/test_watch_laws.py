"""Watching a job: whatever happens to watchers, servers and the job, none misses or repeats an event."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData

from servicekit.database import Database
from servicekit.errors import Reason, Unavailable
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.store import JobStore, Outcome
from servicekit.jobs.tables import job_tables
from servicekit.jobs.values import Claim, Event, EventDraft, Job, JobState
from servicekit.jobs.wakeups import Wakeups

ANN = "accounts/ann"
JOB = "a"
METRICS = frozenset({"progress"})
SECONDS = 60  # a watch that hangs fails, however busy the machine is
WATCHERS = 3

appended = st.lists(st.sampled_from(["progress", "progress", "progress", "epoch", "checkpoint"]), max_size=40)
watcher = st.integers(0, WATCHERS - 1)
steps = st.one_of(
    st.tuples(st.just("append"), appended),
    st.tuples(st.just("append"), appended),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("lose"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("drain"), st.none()),
    st.tuples(st.just("kill"), watcher),
    st.tuples(st.just("hold"), watcher),
    st.tuples(st.just("release"), watcher),
    st.tuples(st.just("begin"), st.floats(0, 1)),
)


class Watcher:
    """Reads, or does not while its gate is closed, and goes on after its last event when it was cut off."""

    def __init__(self, after: int, news: asyncio.Event) -> None:
        self.after = after
        self.seen: list[Event] = []
        self.last_message: Job | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.was_held = False
        self.holds_at = 0
        """Closes its gate itself when it has the event of this sequence."""
        self._news = news
        self._task: asyncio.Task[None] | None = None

    @property
    def last(self) -> int:
        return self.seen[-1].sequence if self.seen else self.after

    def attach(self, follower: JobFollower) -> None:
        self._task = asyncio.create_task(self._watch(follower))

    async def cut_off(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def ended(self) -> None:
        assert self._task is not None
        await self._task

    async def drained(self) -> None:
        """The server has told it to go on elsewhere, and from where."""
        with pytest.raises(Unavailable) as told:
            await self.ended()
        assert told.value.reason is Reason.SHUTTING_DOWN
        assert told.value.metadata == {"after_sequence": str(self.last)}

    async def _watch(self, follower: JobFollower) -> None:
        try:
            async for message in follower.follow(ANN, JOB, self.last):
                match message:
                    case Event():
                        self.seen.append(message)
                        if message.sequence == self.holds_at:
                            self.was_held = True
                            self.gate.clear()
                    case Job():
                        self.last_message = message
                self._news.set()
                await self.gate.wait()
        finally:
            self._news.set()


class World:
    """One job, the server that it is watched through, and its watchers."""

    def __init__(self, file: Path | None) -> None:
        """The job is kept in `file`, or in memory."""
        self.watchers: list[Watcher] = []
        self._file = file
        self._news = asyncio.Event()
        self._wakeups = Wakeups()
        self._memory = MemoryJobStore("trainingJobs", self._wakeups)
        self._database: Database | None = None
        self._claim: Claim | None = None
        self.store: JobStore = self._memory
        self.follower: JobFollower

    async def start(self) -> None:
        """A server begins: it takes back the job that the one before held."""
        if self._file is not None:
            metadata = MetaData()
            tables = job_tables(metadata)
            self._wakeups = Wakeups()
            self._database = Database(f"sqlite+aiosqlite:///{self._file}")
            async with self._database.write() as connection:
                await connection.run_sync(metadata.create_all)
            self.store = SqlJobStore(self._database, tables, "trainingJobs", self._wakeups)
        self.follower = JobFollower(self.store, self._wakeups, metrics=METRICS)
        if self._claim is None:
            await self.store.create(JOB, ANN, {}, 1_000)
        await self.store.take_back("one")
        self._claim = await self.store.claim("one", 3_600)

    async def close(self) -> None:
        for each in self.watchers:
            await each.cut_off()
        if self._database is not None:
            await self._database.close()

    async def restart(self) -> None:
        await self.close()
        await self.start()
        for each in self.watchers:
            each.attach(self.follower)

    async def drain(self) -> None:
        if self._file is None:  # the twin has the same wakeups all its life
            return
        self.release(range(len(self.watchers)))
        await self.follower.drain()
        for each in self.watchers:
            await each.drained()
        await self.restart()

    async def begin(self, share: float) -> Watcher:
        job = await self.store.get(ANN, JOB)
        watcher = Watcher(round(share * job.last_sequence), self._news)
        watcher.attach(self.follower)
        self.watchers.append(watcher)
        return watcher

    async def append(self, kinds: Iterable[str]) -> None:
        assert self._claim is not None
        drafts = [EventDraft(kind, {"n": number}) for number, kind in enumerate(kinds)]
        await self.store.append(self._claim, drafts, {})

    async def lose(self) -> None:
        """The attempt is lost, and another one begins."""
        assert self._claim is not None
        await self.store.put_back(self._claim, Unavailable(Reason.DEPENDENCY_UNAVAILABLE, "gone"))
        self._claim = await self.store.claim("one", 3_600)

    def hold(self, watcher: Watcher) -> None:
        watcher.was_held = True
        watcher.gate.clear()

    def release(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.watchers[number].gate.set()

    async def settle(self) -> None:
        """Waits until everybody who reads has read everything."""
        job = await self.store.get(ANN, JOB)
        async with asyncio.timeout(SECONDS):
            while any(each.gate.is_set() and each.last < job.last_sequence for each in self.watchers):
                self._news.clear()
                await self._news.wait()

    async def finish(self) -> list[Event]:
        """Ends the job and every watch of it; the whole log."""
        assert self._claim is not None
        await self.store.finish(self._claim, Outcome(JobState.SUCCEEDED, result={}))
        self.release(range(len(self.watchers)))
        async with asyncio.timeout(SECONDS):
            for each in self.watchers:
                await each.ended()
        return await self.store.events(JOB, 0, 10_000)


def holds(watcher: Watcher, log: list[Event]) -> None:
    """What every watcher may rely on."""
    runs = [(event.coalesced_from or event.sequence, event.sequence) for event in watcher.seen]
    told = [sequence for first, last in runs for sequence in range(first, last + 1)]
    assert told == list(range(watcher.after + 1, len(log) + 1)), "the runs are all sequences, each once, in order"
    left_out = set(told) - {last for _, last in runs}
    assert {log[sequence - 1].kind for sequence in left_out} <= METRICS
    for event in watcher.seen:
        written = log[event.sequence - 1]
        assert (event.kind, event.payload, event.time) == (written.kind, written.payload, written.time)
        assert event.coalesced_from != event.sequence
    assert watcher.was_held or not left_out, "who keeps up sees every event"
    assert watcher.last_message is not None
    assert watcher.last_message.state is JobState.SUCCEEDED


async def _run(world: World, script: list[tuple[str, object]]) -> None:
    await world.start()
    for _ in range(WATCHERS):
        await world.begin(0)
    try:
        for step, argument in script:
            match step, argument:
                case "append", list(kinds):
                    await world.append(kinds)
                case "begin", float(share):
                    await world.begin(share)
                case "kill", int(number):
                    await world.watchers[number].cut_off()
                    world.watchers[number].attach(world.follower)
                case "hold", int(number):
                    world.hold(world.watchers[number])
                case "release", int(number):
                    world.release([number])
                case _:
                    await getattr(world, step)()
        log = await world.finish()
        for watcher in world.watchers:
            holds(watcher, log)
    finally:
        await world.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
async def test_watchers_of_the_twin_miss_and_repeat_nothing(script: list[tuple[str, object]]) -> None:
    await _run(World(None), script)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(steps, max_size=20))
async def test_watchers_of_a_database_miss_and_repeat_nothing(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, object]]
) -> None:
    await _run(World(tmp_path_factory.mktemp("watch") / "jobs.db"), script)


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
async def test_metrics_pile_up_for_a_slow_watcher_alone(tmp_path: Path, kept: str) -> None:
    world = World(None if kept == "in memory" else tmp_path / "jobs.db")
    await world.start()
    slow, quick = await world.begin(0), await world.begin(0)
    await world.settle()  # both have the events 1 and 2
    world.hold(slow)
    await world.append(["progress"])
    await world.settle()
    for _ in range(3):
        await world.append([*["progress"] * 20, "epoch"])
        await world.settle()
    world.release([0])
    await world.settle()
    await world.append(["progress", "progress"])
    log = await world.finish()
    for watcher in (slow, quick):
        holds(watcher, log)
    sent = [(event.sequence, event.coalesced_from) for event in slow.seen]
    assert sent == [(1, 0), (2, 0), (3, 0), (23, 4), (24, 0), (44, 25), (45, 0), (65, 46), (66, 0), *_alone(67, 69)]
    assert [event.sequence for event in quick.seen] == list(range(1, 70))
    await world.close()


def _alone(first: int, last: int) -> list[tuple[int, int]]:
    return [(sequence, 0) for sequence in range(first, last + 1)]


async def test_what_was_there_before_the_watcher_is_sent_whole_however_slowly_it_reads(tmp_path: Path) -> None:
    world = World(tmp_path / "jobs.db")
    await world.start()
    await world.append(["progress"] * 30)
    slow, quick = await world.begin(0), await world.begin(0)
    slow.holds_at = 5
    await world.settle()
    await world.append(["progress"] * 30)
    await world.settle()
    log = await world.finish()
    for watcher in (slow, quick):
        holds(watcher, log)
    assert [(event.sequence, event.coalesced_from) for event in slow.seen] == [*_alone(1, 32), (62, 33), (63, 0)]
    await world.close()


async def test_a_job_is_read_once_for_all_who_watch_it(tmp_path: Path) -> None:
    world = World(tmp_path / "jobs.db")
    await world.start()
    reads = 0
    events = world.store.events

    async def counted(job_id: str, after: int, limit: int) -> list[Event]:
        nonlocal reads
        reads += 1
        return await events(job_id, after, limit)

    world.store.events = counted  # type: ignore[method-assign]  # the store's own method, counted
    for _ in range(50):
        await world.begin(1)
    await world.settle()
    for _ in range(10):
        await world.append(["progress"])
        await world.settle()
    assert reads < 60, "as many as one watcher needs, not fifty times that"
    log = await world.finish()
    for watcher in world.watchers:
        holds(watcher, log)
    await world.close()
