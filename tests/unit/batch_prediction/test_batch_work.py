"""A batch prediction goes on with what is there after a break at any point, and one that ends badly leaves nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_server.batch_prediction.values import BatchPredictionSpec, Phase
from ml_server.batch_prediction.work import FILE, BatchPredictionWork
from ml_server.features.columns import ColumnType, NumberColumn
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.prediction.answers import Classification, answers_of
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import write_bundle
from ml_server.registry.sql import SqlModelStore
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part, PartHeader, RowBatch, View
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from servicekit.errors import AlreadyExists, Reason, Unavailable
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.runner import JobRunner
from servicekit.jobs.values import Event, Job, JobState
from servicekit.jobs.wakeups import Wakeups
from tests.made_versions import numbers_version

ANN = "accounts/ann"
COLUMNS = 3
ROWS = {Part.TRAIN: 50_000, Part.VALIDATION: 0, Part.TEST: 7}
NAMES = tuple(f"x{at}" for at in range(COLUMNS))
VIEW = View(
    "datasets/d/views/v",
    "0" * 64,
    tuple(InputColumn(name, ColumnType.FLOAT) for name in NAMES),
    (TargetColumn("y", ColumnType.CATEGORICAL, 2),),
    ROWS,
)
MATRIX = np.random.default_rng(0).standard_normal((ROWS[Part.TRAIN], COLUMNS))
LIST = pa.list_(pa.field("item", pa.float64(), nullable=False), COLUMNS)


class Scraper:
    """The scraper service's rows of the view."""

    async def get_for(self, owner: str, name: str) -> View:
        return VIEW

    async def batches(
        self, owner: str, view: View, part: Part, start_batch: int
    ) -> AsyncIterator[PartHeader | RowBatch]:
        count = view.rows[part]
        lists: Any = pa.FixedSizeListArray
        matrix = lists.from_arrays(pa.array(MATRIX[:count].reshape(-1)), type=LIST)
        fields: list[Any] = [pa.field("features", LIST, nullable=False), pa.field("y", pa.string())]
        rows = pa.RecordBatch.from_arrays([matrix, pa.array(["no"] * count)], schema=pa.schema(fields))
        yield PartHeader(count, rows.schema.serialize().to_pybytes(), NAMES)
        if not start_batch and count:
            yield RowBatch(0, count, rows.serialize().to_pybytes())


@dataclass
class Datasets:
    """What the scraper service has of uploads and data sets. `hooks` run when a method has done its work."""

    hooks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    sessions: dict[str, bytes] = field(default_factory=dict)
    made: dict[str, bytes] = field(default_factory=dict)
    """By the job that asked: each makes one."""
    calls: list[str] = field(default_factory=list)

    async def _did(self, method: str) -> None:
        self.calls.append(method)
        if hook := self.hooks.pop(method, None):
            await hook()

    async def upload(self, owner: str, job: str, file: Path, file_name: str, told: Any) -> str:
        content = await asyncio.to_thread(file.read_bytes)
        self.sessions["uploadSessions/s"] = content
        await told("uploadSessions/s", len(content), len(content))
        await self._did("upload")
        return "uploadSessions/s"

    async def make(self, owner: str, job: str, session: str, dataset_id: str, display_name: str) -> str:
        if job not in self.made:
            self.made[job] = self.sessions.pop(session)
        await self._did("make")
        return f"datasets/{dataset_id}"

    async def discard(self, owner: str, job: str, session: str, dataset_id: str, display_name: str) -> None:
        self.made.pop(job, None)
        await self.discard_session(owner, session)

    async def discard_session(self, owner: str, session: str) -> None:
        self.sessions.pop(session, None)


class Fixture:
    """A version, a view, and a job on them."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "work"
        self.wakeups = Wakeups()
        self.store = MemoryJobStore("batchPredictions", self.wakeups, graceful_cancel=True)
        self.datasets = Datasets()
        self._tmp_path = tmp_path

    async def prepare(self) -> None:
        self._database = Database(f"sqlite+aiosqlite:///{self._tmp_path}/ml.db")
        await self._database.migrate("ml_server:migrations")
        models = SqlModelStore(self._database)
        bundle = numbers_version(COLUMNS, (4,))
        specification = ModelSpecification(architecture=MlpSpecification(hidden_units=(4,)))
        model = await models.create(ANN, "iris", "Iris", specification, None)
        write_bundle(self._tmp_path / "artifacts" / "v", bundle)
        await models.add_version(model, bundle.details, 1000, "v")
        loaded = LoadedVersions(FolderArtifacts(self._tmp_path / "artifacts"), 1 << 20)
        scraper = Scraper()
        fetched = FetchedViews(FolderCache(self._tmp_path / "views", 10**9), scraper)
        self._work = BatchPredictionWork(models, loaded, scraper, fetched, self.datasets, self.folder)
        self.served = ServedVersion.read(self._tmp_path / "artifacts" / "v")
        spec = BatchPredictionSpec(
            model_id="iris",
            model_uid=model.uid,
            number=1,
            version_digest=bundle.details.digest,
            view=VIEW.name,
            view_digest=VIEW.digest,
            parts=(Part.TRAIN, Part.TEST),
            columns=("x0", "y"),
            total_rows=sum(ROWS.values()),
            dataset_id="predicted",
        )
        await self.store.create("a", ANN, spec.to_json(), 5)

    def runner(self) -> JobRunner:
        return JobRunner(self.store, self.wakeups, self._work, name="one", concurrency=1, graceful_cancel=True)

    async def ended(self) -> tuple[Job, list[Event]]:
        """Runs the job to its end."""
        runner = self.runner()
        await runner.start()
        messages = [message async for message in JobFollower(self.store, self.wakeups).follow(ANN, "a", 0)]
        await runner.drain()
        last = messages[-1]
        assert isinstance(last, Job)
        return last, [message for message in messages if isinstance(message, Event)]

    async def close(self) -> None:
        await self._database.close()


@pytest.fixture
async def fixture(tmp_path: Path) -> AsyncIterator[Fixture]:
    made = Fixture(tmp_path)
    await made.prepare()
    yield made
    await made.close()


def assert_whole(fixture: Fixture, content: bytes) -> None:
    found: Any = pq.read_table(pa.BufferReader(content))
    assert found.column_names == ["x0", "y", "y_predicted", "y_probability_no", "y_probability_yes"]
    rows = np.concatenate([MATRIX, MATRIX[: ROWS[Part.TEST]]])
    np.testing.assert_array_equal(found["x0"].to_numpy(), rows[:, 0])
    columns = {name: NumberColumn(rows[:, at]) for at, name in enumerate(NAMES)}
    (answer,) = answers_of(fixture.served.targets, fixture.served.run(fixture.served.features.transform(columns)))
    assert isinstance(answer, Classification)
    probabilities = np.stack([found["y_probability_no"].to_numpy(), found["y_probability_yes"].to_numpy()], axis=1)
    np.testing.assert_allclose(probabilities, answer.probabilities, atol=1e-6)
    assert found["y_predicted"].to_pylist() == [("no", "yes")[label] for label in probabilities.argmax(axis=1)]


async def test_a_job_predicts_every_row_of_its_parts_in_order(fixture: Fixture) -> None:
    job, events = await fixture.ended()
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"dataset": "datasets/predicted"})
    assert_whole(fixture, fixture.datasets.made["a"])
    phases = dict.fromkeys(event.payload["phase"] for event in events if event.kind == "progress")
    assert list(phases) == list(Phase)
    assert events[-2].kind == "predictions_created"
    assert not (fixture.folder / "a").exists()


@pytest.mark.parametrize("method", ["upload", "make"])
async def test_a_server_that_ends_at_any_point_leaves_the_next_one_what_it_did(fixture: Fixture, method: str) -> None:
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    fixture.datasets.hooks[method] = hang
    first = fixture.runner()
    await first.start()
    await reached.wait()
    written = (fixture.folder / "a" / FILE).stat().st_mtime_ns
    await first.drain()
    assert (fixture.folder / "a" / FILE).stat().st_mtime_ns == written
    job, events = await fixture.ended()
    assert job.state is JobState.SUCCEEDED
    assert_whole(fixture, fixture.datasets.made["a"])
    again = [event.payload["phase"] for event in events if event.kind == "progress" and event.attempt == 2]
    assert Phase.PREDICTING not in again
    assert fixture.datasets.calls == (
        ["upload", "upload", "make"] if method == "upload" else ["upload", "make", "make"]
    )


async def test_a_file_that_was_half_written_is_written_anew(fixture: Fixture) -> None:
    (fixture.folder / "a").mkdir(parents=True)
    (fixture.folder / "a" / FILE).with_suffix(".part").write_bytes(b"PAR1 and no more")
    job, _ = await fixture.ended()
    assert job.state is JobState.SUCCEEDED
    assert_whole(fixture, fixture.datasets.made["a"])


@pytest.mark.parametrize("method", ["upload", "make"])
async def test_a_job_that_is_cancelled_leaves_nothing(fixture: Fixture, method: str) -> None:
    async def cancel() -> None:
        await fixture.store.request_cancel(ANN, "a")
        await asyncio.Event().wait()

    fixture.datasets.hooks[method] = cancel
    job, _ = await fixture.ended()
    assert (job.state, job.result) == (JobState.CANCELLED, {"dataset": ""})
    assert (fixture.datasets.sessions, fixture.datasets.made) == ({}, {})
    assert not (fixture.folder / "a").exists()


async def test_predicting_ends_within_a_batch_of_the_cancel(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, batches = asyncio.get_running_loop(), 0
    run = ServedVersion.run

    async def turns() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    def cancelling(served: ServedVersion, features: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 1:
            asyncio.run_coroutine_threadsafe(fixture.store.request_cancel(ANN, "a"), loop).result()
            asyncio.run_coroutine_threadsafe(turns(), loop).result()  # in which the runner hears of it
        return run(served, features)

    monkeypatch.setattr(ServedVersion, "run", cancelling)
    job, _ = await fixture.ended()
    assert job.state is JobState.CANCELLED
    assert batches == 1
    assert not (fixture.folder / "a").exists()


async def test_a_fault_of_the_import_fails_the_job_and_leaves_nothing(fixture: Fixture) -> None:
    async def taken() -> None:
        raise AlreadyExists(Reason.NAME_TAKEN, "there is a data set of this name")

    fixture.datasets.hooks["make"] = taken
    job, _ = await fixture.ended()
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.reason is Reason.NAME_TAKEN
    assert fixture.datasets.sessions == {}
    assert not (fixture.folder / "a").exists()


async def test_a_scraper_service_that_does_not_answer_costs_an_attempt_and_no_prediction(fixture: Fixture) -> None:
    async def away() -> None:
        raise Unavailable(Reason.DEPENDENCY_UNAVAILABLE, "the scraper service does not answer")

    fixture.datasets.hooks["upload"] = away
    job, _ = await fixture.ended()
    assert job.state is JobState.SUCCEEDED
    assert [attempt.number for attempt in job.attempts] == [1, 2]
    assert_whole(fixture, fixture.datasets.made["a"])
