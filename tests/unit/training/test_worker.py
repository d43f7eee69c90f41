"""A worker's whole attempt, in this process: from a view's files to a version's files."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from pyarrow import ipc
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from ml_server.features.columns import ColumnType
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.monitoring.measures import input_measures, output_measures
from ml_server.monitoring.reference import read_reference
from ml_server.networks.kinds import Normalization
from ml_server.networks.specification import (
    CnnSpecification,
    ConvolutionBlock,
    ImageShape,
    MlpSpecification,
    ModelSpecification,
)
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import REFERENCE_FILE, read_bundle
from ml_server.training import events as training_events
from ml_server.training import loop, worker
from ml_server.training.drift_reference import spaced
from ml_server.training.events import CheckpointSaved, EarlyStopped, EpochFinished, Progress, TrainingStarted
from ml_server.training.plans import Adam, AdamW, EarlyStopping, ImageAugmentation, Sgd, TrainingPlan
from ml_server.training.preparation import prepare
from ml_server.training.rows import Rows
from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import Finished, Provenance, Told, TrainingTask
from ml_server.training.worker import StopRequested, run
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part
from servicekit.errors import FlareError, Reason

SMALL_PLAN = TrainingPlan(epochs=6, batch_size=64, seed=3, learning_rate=3e-3, optimizer=Adam())


def _write(directory: Path, table: pa.Table) -> dict[Part, Path]:
    """Every row to one of three parts, in turn."""
    files = {}
    row_parts = np.arange(table.num_rows) % 5
    for part, chosen in ((Part.TRAIN, row_parts < 3), (Part.VALIDATION, row_parts == 3), (Part.TEST, row_parts == 4)):
        files[part] = directory / f"{part}.arrow"
        rows = table.filter(pa.array(chosen))
        with ipc.new_file(str(files[part]), rows.schema) as writer:
            writer.write_table(rows)
    return files


@pytest.fixture(scope="module")
def breast_cancer(tmp_path_factory: pytest.TempPathFactory) -> TrainingTask:
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    columns = {name: data.data[:, index] for index, name in enumerate(names)}
    columns["diagnosis"] = data.target_names[data.target].astype(object)
    directory = tmp_path_factory.mktemp("breast")
    return TrainingTask(
        specification=ModelSpecification(architecture=MlpSpecification(hidden_units=(32, 16), dropout=0.1)),
        plan=SMALL_PLAN,
        inputs=tuple(InputColumn(name, ColumnType.FLOAT) for name in names),
        targets=(TargetColumn("diagnosis", ColumnType.CATEGORICAL, 2),),
        files=_write(directory, pa.table(columns)),
        cache=FolderCache(directory / "cache", 10**9),
        memory_bytes=10**9,
        initial_weights=None,
        checkpoints=directory / "checkpoints",
        output=directory / "version",
        threads=1,
        provenance=Provenance("job", "datasets/b/views/v", "d" * 64),
        logged_epochs=0,
    )


@pytest.fixture(autouse=True)
def every_epoch_has_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 0.0)


@pytest.fixture
def task(breast_cancer: TrainingTask, tmp_path: Path) -> TrainingTask:
    return replace(breast_cancer, checkpoints=tmp_path / "checkpoints", output=tmp_path / "version")


def _events(messages: Iterator[Told | Finished]) -> list[object]:
    return [event for message in messages if isinstance(message, Told) for event in message.events]


def test_a_training_leaves_a_version_that_predicts(task: TrainingTask) -> None:
    *told, last = run(task, Stop())
    events = _events(iter(told))
    assert isinstance(events[0], TrainingStarted)
    assert events[0].parameter_count == 30 * 32 + 32 + 32 * 16 + 16 + 16 * 2 + 2
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert [event.epoch for event in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].train_loss < epochs[0].train_loss / 2
    assert [event.epoch for event in events if isinstance(event, CheckpointSaved)] == [1, 2, 3, 4, 5, 6]
    assert isinstance(last, Finished)
    bundle = read_bundle(task.output)
    assert bundle.details == last.details
    assert bundle.details.best_epoch == min(epochs, key=lambda event: event.validation_loss).epoch
    accuracy = {metric.name: metric.value for metric in bundle.details.test_metrics}["accuracy"]
    assert accuracy > 0.93
    assert bundle.targets.targets[0].classes == ("benign", "malignant")


def test_a_training_leaves_how_its_rows_and_their_answers_are_distributed(task: TrainingTask) -> None:
    started = next(event for event in _events(run(task, Stop())) if isinstance(event, TrainingStarted))
    version = ServedVersion.read(task.output)
    inputs, outputs = input_measures(version.features), output_measures(version.targets)
    reference = read_reference(task.output / REFERENCE_FILE, inputs, outputs)
    assert reference.rows == reference.predicted_rows == started.train_rows
    assert [column.column for column in reference.inputs] == [column.name for column in task.inputs]
    for column in (*reference.inputs, *reference.outputs):
        assert sum(column.bins.counts) == started.train_rows
    label, _ = reference.outputs
    rows = torch.cat(list(spaced(prepare(task).train, 10_000))).numpy()
    assert label.bins.counts == tuple(np.bincount(version.run(rows).argmax(axis=1)).tolist())


@pytest.mark.parametrize(("most", "expected"), [(10_000, 3_000), (3_000, 3_000), (2_999, 1_500), (7, 7)])
def test_evenly_spaced_rows_are_so_from_one_batch_to_the_next(most: int, expected: int) -> None:
    every = torch.arange(3_000, dtype=torch.float32)[:, None]
    taken = torch.cat(list(spaced(Rows(every, ()), most)))
    assert len(taken) == expected
    assert len(set(torch.diff(taken[:, 0]).tolist())) == 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(task: TrainingTask, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        plan = task.plan.model_copy(update={"seed": seed})
        each = replace(task, plan=plan, checkpoints=tmp_path / f"{name}-checkpoints", output=tmp_path / name)
        *_, last = run(each, Stop())
        assert isinstance(last, Finished)
        digests.append(last.details.digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("broken_after", [1, 3, 5])
def test_a_broken_run_resumes_to_the_weights_of_an_unbroken_one(
    task: TrainingTask, tmp_path: Path, broken_after: int
) -> None:
    *_, unbroken = run(replace(task, checkpoints=tmp_path / "whole", output=tmp_path / "whole-out"), Stop())
    broken = run(task, Stop())
    for message in broken:
        if isinstance(message, Told) and any(
            isinstance(event, EpochFinished) and event.epoch == broken_after for event in message.events
        ):
            broken.close()
            break
    # The log lost the last epoch with the server: the resumed run tells it again.
    *told, resumed = run(replace(task, logged_epochs=broken_after - 1), Stop())
    events = _events(iter(told))
    assert isinstance(events[0], TrainingStarted)
    assert events[0].resumed_epochs == broken_after
    epochs = [event.epoch for event in events if isinstance(event, EpochFinished)]
    assert epochs == list(range(broken_after, 7))
    assert isinstance(resumed, Finished)
    assert isinstance(unbroken, Finished)
    assert resumed.details.digest == unbroken.details.digest


def test_frozen_blocks_keep_every_bit_over_a_break_too(task: TrainingTask, tmp_path: Path) -> None:
    hidden = MlpSpecification(hidden_units=(32, 16), dropout=0.1, normalization=Normalization.BATCH)
    specification = ModelSpecification(architecture=hidden)
    *_, _ = run(replace(task, specification=specification, output=tmp_path / "base"), Stop())
    before = read_bundle(tmp_path / "base").model.weights()
    plan = task.plan.model_copy(update={"frozen_blocks": ("layers.0", "layers.1"), "optimizer": AdamW()})
    tuned = replace(
        task,
        specification=specification,
        plan=plan,
        base=tmp_path / "base",
        provenance=replace(task.provenance, base_version="models/m/versions/1"),
        checkpoints=tmp_path / "tuned-checkpoints",
    )
    *_, whole = run(replace(tuned, checkpoints=tmp_path / "whole", output=tmp_path / "whole-out"), Stop())
    broken = run(tuned, Stop())
    for message in broken:
        if isinstance(message, Told) and any(isinstance(e, EpochFinished) and e.epoch == 3 for e in message.events):
            broken.close()
            break
    *_, resumed = run(replace(tuned, logged_epochs=3), Stop())
    assert isinstance(whole, Finished)
    assert isinstance(resumed, Finished)
    assert resumed.details.digest == whole.details.digest
    assert resumed.details.base_version == "models/m/versions/1"
    after = read_bundle(tuned.output).model.weights()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name.rsplit(".", 1)[0] for name in moved} == {"layers.4", "layers.5", "layers.8"}
    assert "layers.5.running_mean" in moved


def test_changed_images_go_on_after_a_pause_as_if_there_was_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(worker, "TOLD_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 1000.0)
    digits = load_digits()
    names = [f"p{number}" for number in range(64)]
    table = pa.table(
        {**{name: digits.data[:400, at] for at, name in enumerate(names)}, "digit": digits.target[:400].astype(str)}
    )
    changes = ImageAugmentation(horizontal_flip=0.1, crop_padding=1, rotation_degrees=15, brightness=0.3, contrast=0.3)
    cnn = CnnSpecification(image=ImageShape(channels=1, height=8, width=8), blocks=(ConvolutionBlock(out_channels=4),))
    task = TrainingTask(
        specification=ModelSpecification(architecture=cnn),
        plan=SMALL_PLAN.model_copy(
            update={"epochs": 3, "batch_size": 16, "augmentation": changes, "accumulation_steps": 2}
        ),
        inputs=tuple(InputColumn(name, ColumnType.FLOAT) for name in names),
        targets=(TargetColumn("digit", ColumnType.CATEGORICAL, 10),),
        files=_write(tmp_path, table),
        cache=FolderCache(tmp_path / "cache", 10**9),
        memory_bytes=10**9,
        initial_weights=None,
        checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "version",
        threads=1,
        provenance=Provenance("job", "view", "digest"),
        logged_epochs=0,
    )
    plain = replace(task, plan=task.plan.model_copy(update={"augmentation": ImageAugmentation()}))
    digests = []
    for name, each in (("whole", task), ("again", task), ("plain", plain)):
        *_, last = run(replace(each, checkpoints=tmp_path / f"{name}-checkpoints", output=tmp_path / name), Stop())
        assert isinstance(last, Finished)
        digests.append(last.details.digest)
    assert digests[0] == digests[1] != digests[2]
    stop = Stop()
    messages = run(task, stop)
    with pytest.raises(StopRequested):
        for message in messages:
            assert isinstance(message, Told)
            if any(isinstance(e, Progress) and (e.finished_epochs, e.epoch_steps) == (1, 3) for e in message.events):
                stop.ask(StopKind.PAUSE)
    *told, resumed = run(replace(task, logged_epochs=1), Stop())
    started = _events(iter(told))[0]
    assert isinstance(started, TrainingStarted)
    assert (started.resumed_epochs, started.resumed_epoch_steps) == (1, 3)
    assert isinstance(resumed, Finished)
    assert resumed.details.digest == digests[0]


def test_epochs_made_again_are_not_told_again(task: TrainingTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 1000.0)  # no checkpoint: a second attempt begins anew
    broken = run(task, Stop())
    for message in broken:
        if isinstance(message, Told) and any(isinstance(e, EpochFinished) and e.epoch == 4 for e in message.events):
            broken.close()
            break
    *told, _ = run(replace(task, logged_epochs=4), Stop())
    epochs = [event.epoch for event in _events(iter(told)) if isinstance(event, EpochFinished)]
    assert epochs == [5, 6]


def test_a_pause_keeps_every_step_and_a_stop_keeps_none(
    task: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 1000.0)
    *_, unbroken = run(replace(task, checkpoints=tmp_path / "whole", output=tmp_path / "whole-out"), Stop())
    assert isinstance(unbroken, Finished)
    for keeps_progress in (False, True):
        stop = Stop()
        attempt = run(task, stop)
        next(attempt)
        next(attempt)
        stop.ask(StopKind.PAUSE if keeps_progress else StopKind.CANCEL)
        with pytest.raises(StopRequested):
            list(attempt)
        assert task.checkpoints.exists() == keeps_progress
    *told, resumed = run(task, Stop())
    started = _events(iter(told))[0]
    assert isinstance(started, TrainingStarted)
    assert (started.resumed_epochs, started.resumed_epoch_steps) != (0, 0)
    assert isinstance(resumed, Finished)
    assert resumed.details.digest == unbroken.details.digest


def test_a_training_that_is_to_finish_leaves_the_version_of_its_best_epoch(task: TrainingTask) -> None:
    stop = Stop()
    messages = list[object]()
    for message in run(task, stop):
        messages.append(message)
        if isinstance(message, Told) and any(isinstance(e, EpochFinished) and e.epoch == 2 for e in message.events):
            stop.ask(StopKind.FINISH)
    *_, last = messages
    assert isinstance(last, Finished)
    assert last.details.best_epoch <= 3
    assert read_bundle(task.output).details == last.details


def test_a_training_that_is_to_finish_before_its_first_epoch_has_nothing_to_keep(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    stop = Stop()
    stop.ask(StopKind.FINISH)
    with pytest.raises(StopRequested):
        list(run(task, stop))


def test_a_broken_training_that_is_to_finish_keeps_the_best_of_all_epochs_it_told_of(
    task: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(task, plan=task.plan.model_copy(update={"epochs": 4}), checkpoints=tmp_path / "whole")
    *_, expected = run(replace(whole, output=tmp_path / "whole-out"), Stop())
    assert isinstance(expected, Finished)
    broken = run(task, Stop())
    for message in broken:
        if isinstance(message, Told) and any(isinstance(e, EpochFinished) and e.epoch == 2 for e in message.events):
            monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 1000.0)
        if isinstance(message, Told) and any(isinstance(e, EpochFinished) and e.epoch == 4 for e in message.events):
            broken.close()
    assert max(task.checkpoints.iterdir()).stem == "00000002-0000000000"
    stop = Stop()
    stop.ask(StopKind.FINISH)
    *told, last = run(replace(task, logged_epochs=4), stop)
    assert isinstance(last, Finished)
    assert last.details.digest == expected.details.digest
    assert not [event for event in _events(iter(told)) if isinstance(event, EpochFinished)]


def test_a_long_epoch_is_saved_in_its_middle(task: TrainingTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    plan = task.plan.model_copy(update={"epochs": 1, "checkpoint_seconds": 1e-9})
    events = _events(run(replace(task, plan=plan), Stop()))
    within = [event.epoch_steps for event in events if isinstance(event, CheckpointSaved) and event.epoch == 0]
    assert within[:6] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_that_can_not_be_written_is_told_and_training_goes_on(task: TrainingTask) -> None:
    for number in range(7):  # names of checkpoints, taken by folders that can't be replaced
        (task.checkpoints / f"{number:08d}-0000000000.pt" / "full").mkdir(parents=True)
    *told, last = run(task, Stop())
    warnings = [event.message for event in _events(iter(told)) if isinstance(event, training_events.TrainingWarning)]
    assert sum("could not be written, so the one before is kept" in message for message in warnings) == 6
    assert isinstance(last, Finished)


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(task: TrainingTask) -> None:
    messages = run(task, Stop())
    for message in messages:
        if isinstance(message, Told) and any(isinstance(e, EpochFinished) and e.epoch == 3 for e in message.events):
            messages.close()
            break
    newest = max(task.checkpoints.iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    first = next(run(replace(task, logged_epochs=3), Stop()))
    assert isinstance(first, Told)
    started, warning = first.events
    assert isinstance(started, TrainingStarted)
    assert started.resumed_epochs == 2
    assert "00000003-0000000000 can't be read" in str(warning)


def test_early_stopping_keeps_the_best_epoch(task: TrainingTask) -> None:
    plan = task.plan.model_copy(
        update={"epochs": 500, "learning_rate": 0.05, "early_stopping": EarlyStopping(patience=3)}
    )
    *told, last = run(replace(task, plan=plan), Stop())
    events = _events(iter(told))
    (stopped,) = [event for event in events if isinstance(event, EarlyStopped)]
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert stopped.epoch == epochs[-1].epoch == stopped.best_epoch + 3
    assert isinstance(last, Finished)
    assert last.details.best_epoch == min(epochs, key=lambda event: event.validation_loss).epoch
    (measured,) = [event for event in events if isinstance(event, training_events.TestFinished)]
    assert measured.metrics == last.details.test_metrics
    assert measured.reports == last.details.test_reports != ()
    best = epochs[last.details.best_epoch - 1]
    assert best.validation_reports == last.details.validation_reports != measured.reports


def test_a_diverging_loss_fails_with_epoch_and_remedy(tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=40, batch_size=32, learning_rate=100.0, optimizer=Sgd(momentum=0.9))
    with pytest.raises(FlareError) as caught:
        list(run(_regression_task(tmp_path, plan), Stop()))
    assert caught.value.reason is Reason.TRAINING_DIVERGED
    assert "of epoch 1: lower the learning rate" in caught.value.message


def test_regression_is_measured_in_the_targets_own_unit(tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=40, batch_size=32, learning_rate=3e-3, seed=1)
    *_, last = run(_regression_task(tmp_path, plan), Stop())
    assert isinstance(last, Finished)
    metrics = {metric.name: metric.value for metric in last.details.test_metrics}
    assert set(metrics) == {"mean_absolute_error", "root_mean_squared_error", "r2"}
    assert 30 < metrics["mean_absolute_error"] < 60  # the target goes from 25 to 346
    assert metrics["r2"] > 0.3


def _regression_task(directory: Path, plan: TrainingPlan) -> TrainingTask:
    data = load_diabetes(scaled=False)
    names = [str(name) for name in data.feature_names]
    columns = {name: data.data[:, index] for index, name in enumerate(names)}
    table = pa.table({**columns, "progression": data.target})
    return TrainingTask(
        specification=ModelSpecification(architecture=MlpSpecification(hidden_units=(32,))),
        plan=plan,
        inputs=tuple(InputColumn(name, ColumnType.FLOAT) for name in names),
        targets=(TargetColumn("progression", ColumnType.FLOAT),),
        files=_write(directory, table),
        cache=FolderCache(directory / "cache", 10**9),
        memory_bytes=10**9,
        initial_weights=None,
        checkpoints=directory / "checkpoints",
        output=directory / "version",
        threads=1,
        provenance=Provenance("job", "view", "digest"),
        logged_epochs=0,
    )


@pytest.fixture
def mixed_table() -> Callable[[int], pa.Table]:
    def make(rows: int) -> pa.Table:
        random = np.random.default_rng(5)
        size, colour = random.normal(size=rows), random.choice(["red", "green", "blue"], rows)
        city = np.array([f"city-{number}" for number in random.integers(0, 40, rows)], dtype=object)
        day = np.datetime64("2024-01-01") + random.integers(0, 365, rows).astype("timedelta64[D]")
        price = 3 * size + (colour == "red") * 2 + random.normal(scale=0.1, size=rows)
        return pa.table(
            {
                "size": pa.array(size, mask=random.random(rows) < 0.1),
                "colour": pa.array(colour.tolist()),
                "city": pa.array(city.tolist()),
                "day": pa.array(day.astype("datetime64[us]")),
                "is_new": pa.array((random.random(rows) < 0.5).tolist()),
                "price": pa.array(price),
                "is_dear": pa.array((price > 1).tolist()),
            }
        )

    return make


def mixed_task(directory: Path, table: pa.Table) -> TrainingTask:
    return TrainingTask(
        specification=ModelSpecification(architecture=MlpSpecification(hidden_units=(64, 32))),
        plan=TrainingPlan(epochs=30, batch_size=64, learning_rate=3e-3, seed=1),
        inputs=(
            InputColumn("size", ColumnType.FLOAT, fill="0.0"),
            InputColumn("colour", ColumnType.CATEGORICAL, keeps_missing=True, category_count=3),
            InputColumn("city", ColumnType.CATEGORICAL, keeps_missing=True, category_count=40),
            InputColumn("day", ColumnType.DATETIME),
            InputColumn("is_new", ColumnType.BOOLEAN),
        ),
        targets=(TargetColumn("price", ColumnType.FLOAT), TargetColumn("is_dear", ColumnType.BOOLEAN, 2)),
        files=_write(directory, table),
        cache=FolderCache(directory / "cache", 10**9),
        memory_bytes=10**9,
        initial_weights=None,
        checkpoints=directory / "checkpoints",
        output=directory / "version",
        threads=1,
        provenance=Provenance("job", "view", "digest"),
        logged_epochs=0,
    )


def test_every_kind_of_column_trains_and_several_targets_at_once(
    tmp_path: Path, mixed_table: Callable[[int], pa.Table]
) -> None:
    task = mixed_task(tmp_path, mixed_table(1000))
    *_, last = run(task, Stop())
    assert isinstance(last, Finished)
    metrics = {(metric.target, metric.name): metric.value for metric in last.details.test_metrics}
    assert metrics["price", "r2"] > 0.7
    assert metrics["is_dear", "accuracy"] > 0.85
    layout = read_bundle(task.output).features.layout
    assert layout.dense == 1 + 4 + 7 + 1
    assert [(column.name, column.categories) for column in layout.embeddings] == [("city", 41)]


def test_a_tuned_network_keeps_the_meaning_of_its_inputs_and_tells_of_categories_it_never_saw(
    tmp_path: Path, mixed_table: Callable[[int], pa.Table]
) -> None:
    table = mixed_table(400)
    first = mixed_task(tmp_path, table)
    *_, _ = run(first, Stop())
    base = read_bundle(first.output)
    colour = ["violet" if each == "red" else each for each in table["colour"].to_pylist()]
    larger = pc.multiply(table["size"], 100.0)
    changed = table.set_column(1, "colour", pa.array(colour)).set_column(0, "size", larger)
    (tmp_path / "tuned").mkdir()
    task = replace(
        mixed_task(tmp_path / "tuned", changed),
        inputs=tuple(reversed(first.inputs)),
        targets=tuple(reversed(first.targets)),
        plan=TrainingPlan(epochs=1, learning_rate=1e-12, optimizer=Sgd()),
        base=first.output,
        provenance=Provenance("tuned", "view", "other", "models/m/versions/1"),
    )
    *told, _ = run(task, Stop())
    warnings = [event.message for event in _events(iter(told)) if isinstance(event, training_events.TrainingWarning)]
    assert "column 'colour' has categories that the base version does not know and that count as one: 'violet'" in (
        warnings
    )
    tuned = read_bundle(task.output)
    assert [column.encoding for column in tuned.features.columns] == [each.encoding for each in base.features.columns]
    assert tuned.targets == base.targets
    for name, tensor in tuned.model.weights().items():
        torch.testing.assert_close(tensor, base.model.weights()[name], atol=1e-6, rtol=0)
