"""The work of a sweep: what it makes of its trials, and that it can be killed at any moment.

Trainings are scripted: each tells losses by its learning rate and leaves the files of a version.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.registry.bundle import VERSION_FILE
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.values import Model, VersionDetails, version_artifact
from ml_server.sweeps.events import Story, Trial, TrialPruned, TrialStarted, TrialState, draft_of
from ml_server.sweeps.jobs import MAX_ATTEMPTS, read_story
from ml_server.sweeps.trials import Trials, trial_job_id
from ml_server.sweeps.values import (
    Choices,
    FloatRange,
    Grid,
    MedianPruner,
    Parameter,
    Search,
    SweepSpec,
    Tpe,
)
from ml_server.sweeps.work import SweepWork
from ml_server.training.events import EpochFinished
from ml_server.training.events import draft_of as training_draft
from ml_server.training.jobs import TrainingSpec
from ml_server.training.plans import TrainingPlan
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from servicekit.errors import InvalidArgument, Reason
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.runner import JobRun, JobRunner
from servicekit.jobs.values import Job, JobState
from servicekit.jobs.wakeups import Wakeups

ANN = "accounts/ann"
EPOCHS = 4
RATES = (0.01, 0.3, 0.05, 0.1, 0.02)
TUNED = Search(
    parameters=(Parameter(path="learning_rate", values=FloatRange(min=0.001, max=1.0, log=True)),),
    sampler=Tpe(startup_trials=2),
    max_trials=len(RATES),
)
GRID = Search(parameters=(Parameter(path="learning_rate", values=Choices(values=RATES)),), sampler=Grid())


def loss(rate: float, epoch: int) -> float:
    return abs(rate - 0.05) + 1 / epoch


def no_resource(plan: TrainingPlan) -> str:
    return ""


class KilledError(Exception):
    """Nothing of a killed process goes on."""


def _without_the_killed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Says nothing of tasks that nobody waits for any more, since their process was killed."""
    if not isinstance(context.get("exception"), KilledError):
        loop.default_exception_handler(context)


class Process:
    """Everything that a sweep does by way of these guards ends after so many calls, as when its server is killed."""

    def __init__(self, calls: int | None = None) -> None:
        self._left = calls
        self.killed = asyncio.Event()

    def live(self) -> None:
        """Raises KilledError if it no longer does."""
        if self.killed.is_set():
            raise KilledError

    def count(self) -> None:
        """One call less."""
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.killed.set()

    def guarded(self, target: Any) -> Any:
        """The same object, to a process that may die."""
        process = self

        class Guard:
            def __getattr__(self, name: str) -> Any:
                method = getattr(target, name)

                async def call(*args: Any, **options: Any) -> Any:
                    process.live()
                    result = await method(*args, **options)
                    process.count()
                    process.live()
                    return result

                return call

        return Guard()


class Machine:
    """Stores, artifacts and a runner of scripted trainings, which outlive a killed sweep."""

    def __init__(self, models: SqlModelStore, model: Model, artifacts: FolderArtifacts) -> None:
        self.models, self.model, self.artifacts = models, model, artifacts
        self.wakeups = Wakeups()
        self.trainings = MemoryJobStore("trainingJobs", self.wakeups)
        self.sweeps = MemoryJobStore("sweeps", self.wakeups, graceful_cancel=True)
        self.faults: dict[float, Reason] = {}
        self.endless = False
        """True for trainings that go on until they are asked to finish, or broken."""
        self.most_at_once = 0
        self.most_kept = 0
        self._at_once = 0
        self._epochs = asyncio.Semaphore(0)

    async def told_epochs(self, count: int) -> None:
        """Waits until so many more epochs have been told."""
        for _ in range(count):
            await self._epochs.acquire()

    async def train(self, run: JobRun) -> dict[str, Any]:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._train(run)
        finally:
            self._at_once -= 1

    async def _train(self, run: JobRun) -> dict[str, Any]:
        spec = TrainingSpec.model_validate(run.job.spec)
        rate = spec.plan.learning_rate
        await self._require_known(run, rate)
        self.most_kept = max(self.most_kept, len(await self.kept()))
        if reason := self.faults.get(rate):
            raise InvalidArgument(reason, "it went wrong")
        told = 0
        while told < spec.plan.epochs:
            told += 1
            event = EpochFinished(told, 0.0, loss(rate, told), (), rate, 0.1, 1.0, is_best=True)
            await run.emit(training_draft(event))
            self._epochs.release()
            if self.endless:
                await run.finish_requested.wait()
                break
            await asyncio.sleep(0)
        details = VersionDetails(training_job=run.job.id, parameter_count=1, digest=str(rate))
        async with self.artifacts.staged(version_artifact(spec.model_uid, run.job.id)) as staging:
            (staging / VERSION_FILE).write_text(details.model_dump_json())
        return {"version": ""}

    async def _require_known(self, run: JobRun, rate: float) -> None:
        """A training that its sweep does not know of would be lost by a kill, or made again with other values."""
        story = await self.story(TrainingSpec.model_validate(run.job.spec).sweep)
        known = [*story.trials.values(), *([story.planned] if story.planned else [])]
        assert {"learning_rate": rate} in [trial.parameters for trial in known if trial.training_job == run.job.id]

    async def create(self, search: Search, total: int = len(RATES)) -> str:
        training = TrainingSpec(
            model_id=self.model.id,
            model_uid=self.model.uid,
            view="datasets/d/views/v",
            view_digest="x",
            plan=TrainingPlan(epochs=EPOCHS),
        )
        spec = SweepSpec(training=training, search=search, total_trials=total)
        return (await self.sweeps.create(f"sweep-{self.model.id}", ANN, spec.to_json(), MAX_ATTEMPTS)).id

    @asynccontextmanager
    async def training(self) -> AsyncIterator[None]:
        """Trainings run while the block does."""
        runner = JobRunner(self.trainings, self.wakeups, self.train, name="trainer", concurrency=4)
        await runner.start()
        yield
        await runner.drain()

    @asynccontextmanager
    async def sweeping(self, process: Process | None = None) -> AsyncIterator[None]:
        """A server works on sweeps while the block runs, or until it is killed."""
        guarded = (process or Process()).guarded
        trainings, artifacts, sweeps = guarded(self.trainings), guarded(self.artifacts), guarded(self.sweeps)
        trials = Trials(trainings, JobFollower(self.trainings, self.wakeups), artifacts, no_resource)
        work = SweepWork(sweeps, trials, guarded(self.models), artifacts)
        runner = JobRunner(sweeps, self.wakeups, work, name="sweeper", concurrency=1, graceful_cancel=True)
        asyncio.get_running_loop().set_exception_handler(_without_the_killed)
        await runner.start()
        yield
        await runner.drain()

    async def ended(self, sweep_id: str) -> Job:
        """The sweep when it has ended."""
        last: Any = None
        async for message in JobFollower(self.sweeps, self.wakeups).follow(ANN, sweep_id, 0):
            last = message
        assert isinstance(last, Job)
        return last

    async def run_until_killed(self, sweep_id: str, process: Process) -> bool:
        """Works on a sweep until its end, which gives True, or until the process is killed."""
        try:
            async with self.sweeping(process):
                ended, killed = (asyncio.ensure_future(each) for each in (self.ended(sweep_id), process.killed.wait()))
                await asyncio.wait([ended, killed], return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                killed.cancel()
                return not process.killed.is_set()
        except KilledError:
            return False

    async def story(self, sweep_id: str) -> Story:
        return await read_story(self.sweeps, await self.sweeps.get(ANN, sweep_id))

    async def trained(self) -> list[Job]:
        """Every training, oldest first."""
        return list(reversed(await self.trainings.page(ANN, None, 1_000)))

    async def kept(self) -> list[str]:
        """The trials whose weights are there."""
        jobs = await self.trained()
        return [job.id for job in jobs if await self.artifacts.exists(version_artifact(self.model.uid, job.id))]

    async def versions(self) -> list[tuple[int, str]]:
        """Number and training of each version."""
        found = await self.models.versions(self.model, None, 100)
        return [(version.number, version.details.training_job) for version in found]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A killed process leaves many a traceback, and to draw them takes a second each."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Machine]]]:
    """Makes a machine with a model of its own."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    models = SqlModelStore(database)
    specification = ModelSpecification(architecture=MlpSpecification(hidden_units=(4,), dropout=0.0))

    async def make() -> Machine:
        model = await models.create(ANN, f"iris-{uuid.uuid4().hex[:8]}", "", specification, None)
        return Machine(models, model, FolderArtifacts(tmp_path / "artifacts"))

    yield make
    await database.close()


@pytest.fixture
async def machine(machines: Callable[[], Awaitable[Machine]]) -> Machine:
    return await machines()


async def test_the_best_trial_becomes_the_version_and_nothing_else_is_left(machine: Machine) -> None:
    async with machine.training(), machine.sweeping():
        sweep = await machine.ended(await machine.create(GRID))
    story = await machine.story(sweep.id)
    assert sweep.state is JobState.SUCCEEDED
    assert sweep.result == {"version": f"{machine.model.name}/versions/1"}
    assert [trial.parameters["learning_rate"] for trial in story.trials.values()] == list(RATES)
    assert story.best == story.trials[3]
    assert (story.best.value, story.best.epoch, story.best.finished_epochs) == (loss(0.05, EPOCHS), EPOCHS, EPOCHS)
    assert await machine.versions() == [(1, trial_job_id(sweep.id, 3))]
    assert await machine.kept() == [trial_job_id(sweep.id, 3)]
    assert (machine.most_at_once, machine.most_kept) == (1, 1)  # those that are worse go at once
    jobs = await machine.trained()
    assert [TrainingSpec.model_validate(job.spec).sweep for job in jobs] == [sweep.id] * 5


async def test_as_many_trials_as_asked_for_run_at_a_time(machine: Machine) -> None:
    async with machine.training(), machine.sweeping():
        await machine.ended(await machine.create(GRID.model_copy(update={"parallel_trials": 3})))
    assert machine.most_at_once == 3


def without_jobs(story: Story) -> list[Trial]:
    return [replace(trial, training_job="") for trial in story.trials.values()]


@pytest.mark.parametrize("parallel", [1, 2])
async def test_a_sweep_that_is_killed_at_any_moment_ends_as_one_that_never_was(
    machines: Callable[[], Awaitable[Machine]], parallel: int
) -> None:
    search = TUNED.model_copy(update={"parallel_trials": parallel})
    machine = await machines()
    async with machine.training(), machine.sweeping():
        whole = await machine.ended(await machine.create(search))
    expected = without_jobs(await machine.story(whole.id))
    kills = 0
    for calls in range(1, 60, 4):
        machine = await machines()
        async with machine.training():
            sweep_id, patience = await machine.create(search), calls
            while not await machine.run_until_killed(sweep_id, Process(patience)):
                patience += 9  # the next one gets further, or it would be killed for ever
                kills += 1
        sweep, story = await machine.sweeps.get(ANN, sweep_id), await machine.story(sweep_id)
        assert sweep.state is JobState.SUCCEEDED, sweep.error
        assert [event.sequence for event in await machine.sweeps.events(sweep_id, 0, 1_000)] == list(
            range(1, sweep.last_sequence + 1)
        )
        assert list(story.trials) == [1, 2, 3, 4, 5]
        if parallel == 1:  # the order in which two at a time end is theirs
            assert without_jobs(story) == expected
        assert story.best is not None
        assert await machine.versions() == [(1, story.best.training_job)]
        assert await machine.kept() == [story.best.training_job]
        jobs = {job.id: job for job in await machine.trained()}
        assert [job.state for job in jobs.values()] == [JobState.SUCCEEDED] * 5
        for trial in story.trials.values():
            plan = TrainingSpec.model_validate(jobs[trial.training_job].spec).plan
            assert plan.learning_rate == trial.parameters["learning_rate"]
    assert kills > 15


@pytest.mark.parametrize("keep_best", [False, True])
async def test_a_cancelled_sweep_that_is_killed_meanwhile_leaves_no_trial_and_no_files(
    machines: Callable[[], Awaitable[Machine]], keep_best: bool
) -> None:
    for calls in range(1, 30, 3):
        machine = await machines()
        machine.endless = True
        async with machine.training():
            sweep_id = await machine.create(TUNED.model_copy(update={"parallel_trials": 2}))
            async with machine.sweeping():
                await machine.told_epochs(2)
            await machine.sweeps.request_cancel(ANN, sweep_id, keeps_result=keep_best)
            patience = calls
            while not await machine.run_until_killed(sweep_id, Process(patience)):
                patience += 9
        sweep, story = await machine.sweeps.get(ANN, sweep_id), await machine.story(sweep_id)
        assert sweep.state is JobState.CANCELLED
        assert all(job.state is JobState.CANCELLED for job in await machine.trained())
        assert {trial.state for trial in story.trials.values()} == {
            TrialState.SUCCEEDED if keep_best else TrialState.CANCELLED
        }
        if keep_best:
            assert story.best is not None
            assert await machine.versions() == [(1, story.best.training_job)]
            assert await machine.kept() == [story.best.training_job]
        else:
            assert (await machine.versions(), await machine.kept()) == ([], [])


async def test_a_training_that_a_killed_sweep_made_is_the_one_that_goes_on(machine: Machine) -> None:
    sweep_id = await machine.create(GRID)
    claim = await machine.sweeps.claim("sweeper", 60)
    assert claim is not None
    story = await machine.story(sweep_id)
    story.planned = Trial(1, trial_job_id(sweep_id, 1), {"learning_rate": 0.02})
    await machine.sweeps.append(claim, [], story.progress())
    async with machine.training(), machine.sweeping():
        await machine.ended(sweep_id)
    story = await machine.story(sweep_id)
    assert [trial.parameters["learning_rate"] for trial in story.trials.values()] == [0.02, *RATES[1:]]


async def test_a_pruned_trial_is_cancelled_also_if_a_kill_comes_between(machine: Machine) -> None:
    machine.endless = True
    sweep_id = await machine.create(GRID.model_copy(update={"pruner": MedianPruner(startup_trials=1)}))
    claim = await machine.sweeps.claim("sweeper", 60)
    assert claim is not None
    trial = Trial(1, trial_job_id(sweep_id, 1), {"learning_rate": RATES[0]})
    spec = SweepSpec.model_validate(claim.job.spec)
    trials = Trials(machine.trainings, JobFollower(machine.trainings, machine.wakeups), machine.artifacts, no_resource)
    await trials.begin(claim.job, spec, trial)
    await machine.sweeps.append(claim, [draft_of(TrialStarted(trial)), draft_of(TrialPruned(1, 1, 1.0))])
    async with machine.training(), machine.sweeping():
        await machine.told_epochs(2)
        story = await machine.story(sweep_id)
        await machine.sweeps.request_cancel(ANN, sweep_id)
        await machine.ended(sweep_id)
    assert (story.trials[1].state, story.trials[1].value) == (TrialState.PRUNED, 1.0)
    assert await machine.kept() == []


async def test_a_trial_below_the_median_is_pruned_and_what_it_left_is_cleared(machine: Machine) -> None:
    pruner = MedianPruner(startup_trials=1)
    async with machine.training(), machine.sweeping():
        sweep = await machine.ended(await machine.create(GRID.model_copy(update={"pruner": pruner})))
    story = await machine.story(sweep.id)
    by_rate = {trial.parameters["learning_rate"]: trial for trial in story.trials.values()}
    assert by_rate[0.3].state is TrialState.PRUNED
    assert (by_rate[0.3].epoch, by_rate[0.3].value) == (1, loss(0.3, 1))
    assert by_rate[0.05].state is TrialState.SUCCEEDED
    assert await machine.kept() == [by_rate[0.05].training_job]


async def test_trials_that_fail_by_their_values_are_counted_and_others_become_the_version(machine: Machine) -> None:
    machine.faults = dict.fromkeys(RATES[:4], Reason.TRAINING_DIVERGED)
    async with machine.training(), machine.sweeping():
        sweep = await machine.ended(await machine.create(GRID))
    assert sweep.state is JobState.SUCCEEDED
    assert sweep.progress is not None
    assert (sweep.progress["failed"], sweep.progress["succeeded"]) == (4, 1)
    assert await machine.versions() == [(1, trial_job_id(sweep.id, 5))]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (dict.fromkeys(RATES[:4], Reason.COLUMN_UNSUPPORTED), r"3 trials in a row failed; the last, .*-3, because"),
        (
            dict.fromkeys(RATES, Reason.TRAINING_DIVERGED),
            r"none of the 5 trials came to a value \(5 failed\); the last",
        ),
    ],
    ids=["from the first", "all"],
)
async def test_a_sweep_whose_trials_fail_does_so_with_the_last_ones_cause(
    machine: Machine, faults: dict[float, Reason], message: str
) -> None:
    machine.faults = faults
    async with machine.training(), machine.sweeping():
        sweep = await machine.ended(await machine.create(GRID))
    assert sweep.state is JobState.FAILED
    assert sweep.error is not None
    assert sweep.error.reason is Reason.TRIALS_FAILED
    assert re.match(message, sweep.error.message)
    assert sweep.error.message.endswith("because it went wrong")
    assert (await machine.versions(), await machine.kept()) == ([], [])


async def test_a_sweep_whose_time_is_over_ends_with_the_best_epoch_of_what_trains(machine: Machine) -> None:
    machine.endless = True
    async with machine.training(), machine.sweeping():
        sweep = await machine.ended(await machine.create(GRID.model_copy(update={"max_seconds": 0.5})))
    story = await machine.story(sweep.id)
    assert story.time_is_over
    assert [trial.state for trial in story.trials.values()] == [TrialState.SUCCEEDED]
    assert sweep.state is JobState.SUCCEEDED
    assert await machine.versions() == [(1, trial_job_id(sweep.id, 1))]


async def test_a_sweep_whose_model_is_gone_stops_its_trials_and_leaves_nothing(machine: Machine) -> None:
    machine.endless = True
    async with machine.training():
        sweep_id = await machine.create(GRID)
        async with machine.sweeping():
            await machine.told_epochs(1)
        await machine.models.delete(machine.model)
        await machine.models.create(ANN, machine.model.id, "", machine.model.specification, None)
        async with machine.sweeping():
            sweep = await machine.ended(sweep_id)
    assert sweep.error is not None
    assert sweep.error.reason is Reason.NOT_FOUND
    assert [job.state for job in await machine.trained()] == [JobState.CANCELLED]
    assert (await machine.story(sweep_id)).running == []
    assert await machine.kept() == []


async def test_a_trial_whose_values_make_no_plan_together_fails_and_the_sweep_goes_on(machine: Machine) -> None:
    # Each bound makes a plan; that the two together do not is found when they meet.
    parameters = (Parameter(path="learning_rate", values=Choices(values=(-1.0, 0.05))),)
    search = Search(parameters=parameters, sampler=Grid(), max_trials=2)
    async with machine.training(), machine.sweeping():
        sweep = await machine.ended(await machine.create(search, total=2))
    story = await machine.story(sweep.id)
    assert [trial.state for trial in story.trials.values()] == [TrialState.FAILED, TrialState.SUCCEEDED]
    assert story.trials[1].cause is not None
    assert "make no valid plan" in story.trials[1].cause.message
    assert await machine.versions() == [(1, trial_job_id(sweep.id, 2))]
