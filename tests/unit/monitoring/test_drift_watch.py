"""Rows that versions predict for are counted off the way of those who ask, and compared with those of training."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from ml_server.monitoring.drift import VersionDrift
from ml_server.monitoring.drift_metrics import DriftCollector
from ml_server.monitoring.drift_watch import MAX_REQUEST_ROWS, DriftWatch
from ml_server.monitoring.reference import make_reference
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.observers import Answered, Asked
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Timings
from ml_server.registry.bundle import REFERENCE_FILE, write_bundle
from ml_server.registry.values import Model, ModelVersion, VersionReference
from servicekit.artifacts import FolderArtifacts
from tests.made_versions import numbers_version

NOW = datetime(2024, 5, 17, tzinfo=UTC)
IRIS = Model("u1", "accounts/ann", "iris", "", ModelSpecification(architecture=MlpSpecification()), NOW, NOW)
COLUMNS = 3


class Clock:
    """A point in time that a test moves."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


class World:
    """A version of three numbers, and the reference of what it says of 2000 normal ones each."""

    def __init__(self, folder: Path) -> None:
        bundle = numbers_version(COLUMNS, (4,))
        write_bundle(folder / "v1", bundle)
        self.directory = folder / "v1"
        self.served = ServedVersion.read(self.directory)
        self.version = ModelVersion(IRIS, 1, bundle.details, 1, NOW, "v1")
        rows = self.rows(2_000)
        self.reference = make_reference(bundle.features, bundle.targets, rows, self.served.run(rows))
        (self.directory / REFERENCE_FILE).write_text(self.reference.model_dump_json())
        self.artifacts, self.clock = FolderArtifacts(folder), Clock()
        self.watch = DriftWatch(self.artifacts, self.clock)

    def rows(self, count: int, shift: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
        """Normal numbers, those of the first column moved."""
        made = np.random.default_rng(seed).normal(size=(count, COLUMNS)).astype(np.float32)
        made[:, 0] += shift
        return made

    def predict(self, rows: NDArray[np.float32], watch: DriftWatch | None = None) -> None:
        """Tells the watch of a request."""
        outputs = self.served.run(rows)
        (watch or self.watch).answered(
            Answered(
                Asked("accounts/ann", VersionReference("iris"), self.version, self.served),
                ColumnInputs({}),
                rows,
                outputs,
                Timings(0, 0, 0, 0),
            )
        )

    async def drift(self) -> VersionDrift:
        """What the watch says."""
        return await self.watch.drift(self.version)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.watch.start()
    yield made
    await made.watch.drain()


async def test_rows_like_those_of_training_have_not_drifted_and_others_have(world: World) -> None:
    for row in world.rows(1_000, seed=1):
        world.predict(row[None])
    alike = await world.drift()
    assert (alike.rows, alike.dropped, alike.since, alike.problem) == (1_000, 0, NOW, "")
    assert [each.column for each in alike.inputs] == ["x0", "x1", "x2"]
    assert [(each.column, each.quantity.value) for each in alike.outputs] == [("y", "label"), ("y", "confidence")]
    assert max(each.index for each in (*alike.inputs, *alike.outputs)) < 0.1

    await world.watch.drift(world.version, reset=True)
    world.predict(world.rows(1_000, shift=1.0, seed=2))
    moved = await world.drift()
    assert moved.rows == 1_000
    first, *others = moved.inputs
    assert first.index > 0.25
    assert max(each.index for each in others) < 0.1
    assert sum(each.observed for each in first.bins) == pytest.approx(1)
    assert first.bins[0].lower is None
    assert first.bins[-1].upper is None


async def test_the_index_is_that_of_the_counts_of_all_requests_together(world: World) -> None:
    rows = world.rows(500, shift=0.3, seed=3)
    for part in np.array_split(rows, 7):
        world.predict(part)
    one_by_one = await world.drift()
    world_at_once = await world.watch.drift(world.version, reset=True)
    assert world_at_once.inputs == one_by_one.inputs
    world.predict(rows)
    assert (await world.drift()).inputs == one_by_one.inputs


async def test_counting_anew_starts_at_that_moment(world: World) -> None:
    world.predict(world.rows(5))
    world.clock.now = NOW + timedelta(hours=1)
    assert (await world.watch.drift(world.version, reset=True)).rows == 5
    after = await world.drift()
    assert (after.rows, after.since, after.inputs) == (0, NOW + timedelta(hours=1), ())


async def test_a_version_that_was_forgotten_says_since_when_it_counts_again(world: World) -> None:
    watch = DriftWatch(world.artifacts, world.clock, max_versions=1)
    world.predict(world.rows(5), watch)
    assert (await watch.drift(world.version)).rows == 5
    world.clock.now = NOW + timedelta(hours=1)
    await watch.drift(replace(world.version, number=2))
    again = await watch.drift(world.version)
    assert (again.rows, again.since) == (0, NOW + timedelta(hours=1))


async def test_of_many_rows_of_one_request_evenly_spaced_ones_count(world: World) -> None:
    world.predict(world.rows(3 * MAX_REQUEST_ROWS))
    assert (await world.drift()).rows == MAX_REQUEST_ROWS


async def test_rows_beyond_what_may_wait_are_dropped_and_counted(world: World) -> None:
    watch = DriftWatch(world.artifacts, world.clock, max_waiting_bytes=2_000)
    for row in world.rows(10):
        world.predict(row[None], watch)
    drift = await watch.drift(world.version)
    assert 0 < drift.rows < 10
    assert drift.rows + drift.dropped == 10
    world.predict(world.rows(1), watch)
    assert (await watch.drift(world.version)).rows == drift.rows + 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "has no reference.json"),
        ("{}", "reference.json is none"),
        ('{"rows": 1, "predicted_rows": 1, "inputs": [], "outputs": []}', "that of another version"),
    ],
)
async def test_without_a_reference_rows_are_counted_and_the_reason_is_told(
    world: World, content: str | None, text: str
) -> None:
    file = world.directory / REFERENCE_FILE
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    world.predict(world.rows(5))
    drift = await world.drift()
    assert text in drift.problem
    assert (drift.rows, drift.reference, drift.inputs, drift.outputs) == (5, None, (), ())


async def test_prometheus_reads_versions_that_are_in_memory(world: World) -> None:
    registry = CollectorRegistry()
    registry.register(DriftCollector(world.watch))
    world.predict(world.rows(100))
    drift = await world.drift()
    labels = {"owner": "accounts/ann", "model": "iris", "version": "1"}
    assert registry.get_sample_value("flare_drift_rows", labels) == 100
    column = {**labels, "column": "x0", "quantity": "value"}
    assert registry.get_sample_value("flare_drift_stability_index", column) == drift.inputs[0].index
    del world.served
    assert registry.get_sample_value("flare_drift_rows", labels) is None
