"""Shadows answer after those who answer: callers never wait for them, and what came of it is kept."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from ml_server.features.features import FittedFeatures
from ml_server.monitoring.shadow import ShadowRecord, Shadows
from ml_server.monitoring.shadow_metrics import ShadowCollector
from ml_server.prediction.batcher import Batcher
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.predictor import Prediction, Predictor
from ml_server.prediction.raw import RawColumn
from ml_server.prediction.statistics import Statistics
from ml_server.registry.aliases import Alias
from ml_server.registry.bundle import write_bundle
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.values import Model, VersionReference
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from servicekit.images.decoding import ImageDecoder
from tests.made_versions import numbers_version

ANN = "accounts/ann"
PROD = VersionReference("iris", alias="prod")
IMAGES = ImageDecoder(1_000)
NOW = datetime(2024, 5, 17, tzinfo=UTC)
MAX_WAITING = 2


class Held(ColumnInputs):
    """Two numbers a row, which shadows get only when `gate` is open."""

    gate = threading.Event()

    def features(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> NDArray[np.float32]:
        """As Inputs says."""
        if threading.current_thread() is not threading.main_thread():
            assert self.gate.wait(60)
        return super().features(fitted, images, version)


class World:
    """A model whose alias `prod` is version 1 with the shadow 2, and the column of version 3 has another name."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.store = SqlModelStore(database)
        artifacts = FolderArtifacts(folder)
        versions, loaded = KnownVersions(self.store), LoadedVersions(artifacts, 1 << 30)
        self.shadows = Shadows(versions, loaded, IMAGES, lambda: NOW, MAX_WAITING)
        self.predictor = Predictor(versions, loaded, Batcher(2, 1 << 20), IMAGES, Statistics(), [self.shadows])
        self.folder = folder

    async def make(self) -> None:
        """The versions."""
        bundles = [numbers_version(2, (4,)), numbers_version(2, (5,)), numbers_version(3, (4,))]
        model = await self.store.create(ANN, "iris", "", bundles[0].model.config.specification, None)
        for number, bundle in enumerate(bundles, 1):
            write_bundle(self.folder / f"v{number}", bundle)
            await self.store.add_version(model, bundle.details, 1, f"v{number}")
        await self.name(Alias(1, shadow=2))

    async def name(self, alias: Alias) -> None:
        """Gives `prod` a meaning."""
        await self.store.set_alias(await self.model(), "prod", alias, "")

    async def model(self) -> Model:
        """The model as it is."""
        return await self.store.get(ANN, "iris")

    async def predict(self, rows: int = 1, reference: VersionReference = PROD) -> Prediction:
        """Asks for some rows."""
        values = np.random.default_rng(rows).normal(size=(2, rows))
        inputs = Held({"x0": RawColumn(values[0]), "x1": RawColumn(values[1])})
        return await self.predictor.predict(ANN, reference, inputs)

    async def record(self) -> ShadowRecord:
        """What came of the shadow that `prod` has."""
        return self.shadows.find(await self.model(), "prod")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    made = World(database, tmp_path / "artifacts")
    (tmp_path / "artifacts").mkdir()
    await made.make()
    await made.shadows.start()
    Held.gate.set()
    yield made
    Held.gate.set()
    await made.shadows.drain()
    await database.close()


async def test_the_shadow_answers_the_same_rows_and_differences_are_kept(world: World) -> None:
    expected: list[float] = []
    agreeing = 0
    for rows in (5, 40):
        answered = await world.predict(rows)
        shadow = await world.predict(rows, VersionReference("iris", number=2))
        ((one,), (other,)) = answered.answers, shadow.answers
        assert answered.version.number == 1
        expected += np.abs(one.probabilities - other.probabilities).mean(axis=1).tolist()  # type: ignore[union-attr]
        agreeing += int((one.labels == other.labels).sum())  # type: ignore[union-attr]
    await world.shadows.settled()
    record = await world.record()
    assert (record.requests, record.rows, record.failures, record.waiting, record.dropped) == (2, 45, 0, 0, 0)
    assert (record.shadow, record.since) == (2, NOW)
    sums = record.targets["y"]
    assert (sums.rows, sums.agreeing) == (45, agreeing)
    assert sums.difference == pytest.approx(sum(expected), rel=1e-4)
    assert record.nanoseconds > 0
    assert record.shadow_nanoseconds > 0


async def test_callers_do_not_wait_for_a_shadow_and_what_is_too_much_is_dropped(world: World) -> None:
    Held.gate.clear()
    # The shadow computes nothing until the gate opens, and callers have their answers all the same.
    answers = [await asyncio.wait_for(world.predict(), 60) for _ in range(MAX_WAITING + 1)]
    assert len(answers) == MAX_WAITING + 1
    for _ in range(4):
        await world.predict()
    record = await world.record()
    assert record.requests == 0
    assert record.dropped > 0
    assert record.waiting + record.dropped == MAX_WAITING + 5
    Held.gate.set()
    await world.shadows.settled()
    after = await world.record()
    assert (after.requests, after.waiting, after.dropped) == (record.waiting, 0, record.dropped)


async def test_inputs_that_do_not_fit_the_shadow_are_failures_with_the_last_message(world: World) -> None:
    await world.name(Alias(1, shadow=3))
    assert (await world.predict()).version.number == 1
    await world.shadows.settled()
    record = await world.record()
    assert (record.shadow, record.requests, record.failures, record.waiting) == (3, 0, 1, 0)
    assert "column 'x2' is missing: models/iris/versions/3 was trained on" in record.last_failure


async def test_another_shadow_counts_for_itself_and_reset_counts_anew(world: World) -> None:
    await world.predict()
    await world.shadows.settled()
    await world.name(Alias(2, shadow=1))
    assert (await world.record()).requests == 0
    await world.name(Alias(1, shadow=2))
    assert (await world.record()).requests == 1
    assert world.shadows.reset(await world.model(), "prod").requests == 1
    assert (await world.record()).requests == 0


async def test_only_predictions_with_the_alias_are_asked_again(world: World) -> None:
    await world.predict(reference=VersionReference("iris", number=1))
    await world.predict(reference=VersionReference("iris", number=2))
    await world.name(Alias(1))
    await world.predict()
    await world.shadows.settled()
    assert world.shadows.records() == []


async def test_prometheus_reads_what_came_of_it(world: World) -> None:
    registry = CollectorRegistry()
    registry.register(ShadowCollector(world.shadows))
    await world.predict(7)
    await world.shadows.settled()
    alias = {"owner": ANN, "model": "iris", "alias": "prod"}
    assert registry.get_sample_value("flare_shadow_requests_total", {**alias, "outcome": "compared"}) == 1
    assert registry.get_sample_value("flare_shadow_rows_total", alias) == 7
    agreement = registry.get_sample_value("flare_shadow_label_agreement", {**alias, "target": "y"})
    assert agreement is not None
    assert 0 <= agreement <= 1
