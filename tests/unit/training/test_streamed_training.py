"""Trainings on rows that are more than memory: as good, as exact and as resumable as those in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import ipc

from ml_server.features.columns import ColumnType
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.training import loop, worker
from ml_server.training.block_order import BlockOrder
from ml_server.training.events import TrainingStarted
from ml_server.training.objective import Objective
from ml_server.training.plans import ClassWeights, TrainingPlan
from ml_server.training.preparation import prepare
from ml_server.training.rows import Rows
from ml_server.training.stop import Stop, StopKind
from ml_server.training.streamed_rows import StreamedRows
from ml_server.training.task import Finished, Provenance, Told, TrainingTask
from ml_server.training.worker import StopRequested, run
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture

ROWS = 12_000
CLASSES = 6
# Of 12,000 rows with 40 bytes, a sixth is in memory at a time.
MEMORY_BYTES = 480_000


@pytest.fixture(scope="module")
def sorted_table(tmp_path_factory: pytest.TempPathFactory) -> TrainingTask:
    """Six classes that overlap; the training rows are sorted by class, as exports of databases often are."""
    directory = tmp_path_factory.mktemp("sorted")
    random = np.random.default_rng(4)
    centres = random.normal(scale=1.2, size=(CLASSES, 8))
    files = {}
    for part, rows in ((Part.TRAIN, ROWS), (Part.VALIDATION, 3_000), (Part.TEST, 3_000)):
        label = np.sort(random.integers(0, CLASSES, rows))
        features = centres[label] + random.normal(size=(rows, 8))
        columns: dict[str, Any] = {f"x{at}": features[:, at] for at in range(8)}
        table = pa.table(columns | {"y": pa.array([f"c{at}" for at in label])})
        files[part] = directory / f"{part}.arrow"
        with ipc.new_file(str(files[part]), table.schema) as writer:
            writer.write_table(table)
    return TrainingTask(
        specification=ModelSpecification(architecture=MlpSpecification(hidden_units=(32,))),
        plan=TrainingPlan(epochs=3, batch_size=32, seed=2, learning_rate=5e-3),
        inputs=tuple(InputColumn(f"x{at}", ColumnType.FLOAT) for at in range(8)),
        targets=(TargetColumn("y", ColumnType.CATEGORICAL, CLASSES),),
        files=files,
        cache=FolderCache(directory / "cache", 10**9),
        memory_bytes=10**9,
        initial_weights=None,
        checkpoints=directory / "checkpoints",
        output=directory / "version",
        threads=1,
        provenance=Provenance("job", "datasets/b/views/v", "d" * 64),
        logged_epochs=0,
    )


def accuracy(task: TrainingTask, directory: Path, memory_bytes: int) -> float:
    task = replace(task, memory_bytes=memory_bytes, checkpoints=directory / "checkpoints", output=directory / "version")
    *_, last = run(task, Stop())
    assert isinstance(last, Finished)
    return {metric.name: metric.value for metric in last.details.test_metrics}["accuracy"]


def test_shuffling_by_blocks_learns_a_sorted_table_as_well_as_shuffling_all(
    sorted_table: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(prepare(replace(sorted_table, memory_bytes=MEMORY_BYTES)).train, StreamedRows)
    whole = accuracy(sorted_table, tmp_path / "whole", 10**9)
    blocks = accuracy(sorted_table, tmp_path / "blocks", MEMORY_BYTES)
    assert abs(whole - blocks) < 0.02
    # What it is measured against: rows that are mixed only with their neighbours in the file are learned far worse.
    drawn = BlockOrder.draw
    monkeypatch.setattr(BlockOrder, "draw", lambda *given: in_order(drawn(*given)))
    assert accuracy(sorted_table, tmp_path / "neighbours", MEMORY_BYTES) < whole - 0.1


def in_order(order: BlockOrder) -> BlockOrder:
    starts, places = order.starts.sort()
    ends = order.ends[places]
    rows = torch.cat([torch.zeros(1, dtype=torch.int64), (ends - starts).cumsum(0)])
    return replace(order, starts=starts, ends=ends, first_rows=rows[order.first_blocks].tolist())


def test_streamed_rows_are_measured_as_those_in_memory_are(sorted_table: TrainingTask) -> None:
    inside = prepare(sorted_table)
    streamed = prepare(replace(sorted_table, memory_bytes=MEMORY_BYTES))
    model = torch.nn.Linear(8, CLASSES)
    plan = TrainingPlan(class_weights=ClassWeights(balanced=True))
    measured = [
        Objective.of(plan, prepared.targets, prepared.train).evaluate(model, prepared.validation)
        for prepared in (inside, streamed)
    ]
    assert isinstance(inside.validation, Rows)
    assert isinstance(streamed.validation, StreamedRows)
    assert measured[0].loss == pytest.approx(measured[1].loss, rel=1e-6)
    assert measured[0].quality == measured[1].quality


def test_a_streamed_training_paused_in_an_epoch_ends_with_the_weights_of_an_unbroken_one(
    breast_cancer: TrainingTask,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 1000.0)
    plan = breast_cancer.plan.model_copy(update={"batch_size": 20})
    task = replace(breast_cancer, plan=plan, memory_bytes=20_000, checkpoints=tmp_path / "a", output=tmp_path / "b")
    assert isinstance(prepare(task).train, StreamedRows)
    *_, unbroken = run(replace(task, checkpoints=tmp_path / "whole", output=tmp_path / "whole-out"), Stop())
    assert isinstance(unbroken, Finished)
    places = []
    for _ in range(3):
        stop = Stop()
        attempt = run(task, stop)
        started = next(attempt)
        assert isinstance(started, Told)
        [event, *_] = started.events
        assert isinstance(event, TrainingStarted)
        places.append((event.resumed_epochs, event.resumed_epoch_steps))
        monkeypatch.setattr(worker, "TOLD_SECONDS", 0.0)
        for _ in range(8):
            next(attempt)
        stop.ask(StopKind.PAUSE)
        with pytest.raises(StopRequested):
            list(attempt)
    assert places[0] == (0, 0)
    assert all(steps for _, steps in places[1:])
    *_, resumed = run(task, Stop())
    assert isinstance(resumed, Finished)
    assert resumed.details.digest == unbroken.details.digest
