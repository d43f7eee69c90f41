"""Weights of rows: what they do to a gradient, and to a training that reads them from a file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import ipc

from ml_server.features.columns import ColumnType, NumberColumn
from ml_server.features.fit import InputColumn
from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, TargetColumn, Task
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.registry.bundle import read_bundle
from ml_server.training.events import EpochFinished, TrainingStarted, TrainingWarning
from ml_server.training.objective import Objective
from ml_server.training.plans import (
    Adam,
    BinaryCrossEntropy,
    ClassWeight,
    ClassWeights,
    CrossEntropy,
    Focal,
    Huber,
    Mae,
    Mse,
    TrainingPlan,
)
from ml_server.training.preparation import prepare
from ml_server.training.row_weights import WeightUnit
from ml_server.training.rows import Rows
from ml_server.training.stop import Stop
from ml_server.training.task import Finished, Provenance, Told, TrainingTask
from ml_server.training.worker import run
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part

FLAG = FittedTarget(name="flag", type=ColumnType.BOOLEAN, task=Task.BINARY_CLASSIFICATION, classes=("false", "true"))
PRICE = FittedTarget(name="price", type=ColumnType.FLOAT, task=Task.REGRESSION)

COUNTS = torch.tensor([1, 3, 2, 0, 1, 4, 2, 1])
FEATURES = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1])
RAISED = ClassWeights(weights=(ClassWeight(target="", class_label="true", weight=5.0),))

CASES = [
    (PRICE, TrainingPlan(regression_loss=Mse())),
    (PRICE, TrainingPlan(regression_loss=Mae())),
    (PRICE, TrainingPlan(regression_loss=Huber(delta=0.3))),
    *(
        (FLAG, TrainingPlan(classification_loss=loss, class_weights=weights))
        for loss in (CrossEntropy(), CrossEntropy(label_smoothing=0.2), BinaryCrossEntropy(), Focal(gamma=2.0))
        for weights in (ClassWeights(), ClassWeights(balanced=True), RAISED)
    ),
]


def gradient(target: FittedTarget, plan: TrainingPlan, train: Rows, batches: list[Rows]) -> torch.Tensor:
    """Of one linear layer from 0, summed over batches as the epoch's mean would be."""
    layer = torch.zeros(4, target.width, requires_grad=True)
    objective = Objective.of(plan, FittedTargets(targets=(target,)), train)
    for batch in batches:
        loss = objective.loss(batch.features @ layer + batch.features[:, :1], batch) * (len(batch) / len(train))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert layer.grad is not None
    return layer.grad


def rows_of(target: FittedTarget) -> tuple[Rows, Rows]:
    """Rows with weights, and the same rows each repeated as often as it weighs."""
    truth = FEATURES[:, 1] * 2 if target.task is Task.REGRESSION else LABELS
    counts = NumberColumn(COUNTS.double().numpy())
    weights = torch.from_numpy(WeightUnit.of(lambda: [counts]).weights(counts))
    weighted = Rows(FEATURES, (truth,), weights)
    return weighted, Rows(FEATURES.repeat_interleave(COUNTS, 0), (truth.repeat_interleave(COUNTS),))


@pytest.mark.parametrize(("target", "plan"), CASES)
def test_a_weighted_row_has_the_gradient_of_as_many_equal_rows(target: FittedTarget, plan: TrainingPlan) -> None:
    weighted, repeated = rows_of(target)
    expected = gradient(target, plan, repeated, [repeated])
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(gradient(target, plan, weighted, [weighted]), expected)
    assert weighted.weights is not None
    counting = weighted.weights > 0
    without_zeros = Rows(weighted.features[counting], (weighted.targets[0][counting],), weighted.weights[counting])
    torch.testing.assert_close(gradient(target, plan, without_zeros, [without_zeros]), expected)


@pytest.mark.parametrize(("target", "plan"), CASES)
@pytest.mark.parametrize("size", [1, 3])
def test_small_batches_weigh_rows_as_large_ones_do(target: FittedTarget, plan: TrainingPlan, size: int) -> None:
    weighted, _ = rows_of(target)
    expected = gradient(target, plan, weighted, [weighted])
    torch.testing.assert_close(gradient(target, plan, weighted, list(weighted.batches(size))), expected)


def test_the_gradient_of_a_weighted_batch_is_that_of_the_hand() -> None:
    rows = Rows(torch.tensor([[1.0], [2.0]]), (torch.tensor([3.0, 1.0]),), torch.tensor([1.5, 0.5]))
    slope = torch.zeros(1, 1, requires_grad=True)
    objective = Objective.of(TrainingPlan(), FittedTargets(targets=(PRICE,)), rows)
    loss = objective.loss(rows.features @ slope, rows)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert loss.item() == pytest.approx((1.5 * 9 + 0.5 * 1) / 2)
    assert slope.grad is not None
    assert slope.grad.item() == pytest.approx((1.5 * 2 * -3 * 1 + 0.5 * 2 * -1 * 2) / 2)


class Given(torch.nn.Module):
    """A network whose outputs are its inputs."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_the_loss_of_measured_rows_weighs_and_metrics_count_all_alike() -> None:
    train = Rows(torch.zeros(2, 2), (torch.tensor([0, 1]),), torch.ones(2))
    objective = Objective.of(TrainingPlan(), FittedTargets(targets=(FLAG,)), train)
    outputs, truth = torch.tensor([[2.0, 0], [2.0, 0], [0, 1.0]]), torch.tensor([0, 1, UNSEEN])
    losses = torch.nn.functional.cross_entropy(outputs[:2], truth[:2], reduction="none")
    measured = objective.evaluate(Given(), Rows(outputs, (truth,), torch.tensor([9.0, 1.0, 5.0])))
    assert measured.loss == pytest.approx(((losses * torch.tensor([9.0, 1.0])).sum() / 10).item())
    assert {metric.name: metric.value for metric in measured.quality.metrics}["accuracy"] == pytest.approx(1 / 3)
    measured = objective.evaluate(Given(), Rows(outputs, (truth,), torch.tensor([0.0, 0.0, 5.0])))
    assert measured.loss is None
    assert {metric.name: metric.value for metric in measured.quality.metrics}["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e307])
def test_weights_keep_their_proportions_whatever_their_unit(unit: float) -> None:
    chunks = [NumberColumn(np.array(values) * unit) for values in ([1.0, 3.0], [0.0, 8.0])]
    whole = WeightUnit.of(lambda: chunks)
    weights = np.concatenate([whole.weights(chunk) for chunk in chunks])
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx([1 / 3, 1.0, 0.0, 8 / 3])


Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


def write(directory: Path, rows: int, weights: Callable[[Numbers, Mask], Numbers]) -> dict[Part, Path]:
    """Half of the rows tell that y is x > 0, the other half the opposite; `weights` of x and which half."""
    files = {}
    for seed, part in enumerate(Part):
        random = np.random.default_rng(seed)
        x, turned = random.normal(size=rows), np.arange(rows) % 2 == 1
        label = np.where((x > 0) ^ turned, "high", "low")
        table = pa.table({"x": pa.array(x), "weight": pa.array(weights(x, turned)), "y": pa.array(label.tolist())})
        files[part] = directory / f"{part}.arrow"
        with ipc.new_file(str(files[part]), table.schema) as writer:
            writer.write_table(table)
    return files


def task_of(directory: Path, files: dict[Part, Path], weight: str | None = "weight") -> TrainingTask:
    return TrainingTask(
        specification=ModelSpecification(architecture=MlpSpecification(hidden_units=(8,))),
        plan=TrainingPlan(epochs=8, batch_size=16, seed=3, learning_rate=0.03, optimizer=Adam()),
        inputs=(InputColumn("x", ColumnType.FLOAT),),
        targets=(TargetColumn("y", ColumnType.CATEGORICAL, 2),),
        files=files,
        cache=FolderCache(directory / "cache", 10**9),
        memory_bytes=10**9,
        initial_weights=None,
        checkpoints=directory / "checkpoints",
        output=directory / "version",
        threads=1,
        provenance=Provenance("job", "datasets/b/views/v", "d" * 64),
        logged_epochs=0,
        weight=weight,
    )


@pytest.mark.parametrize("heavier", [False, True])
def test_weights_decide_what_a_training_learns(tmp_path: Path, heavier: bool) -> None:
    files = write(tmp_path, 400, lambda x, turned: np.where(turned == heavier, 50, 1))
    *_, finished = run(task_of(tmp_path, files), Stop())
    assert isinstance(finished, Finished)
    bundle = read_bundle(tmp_path / "version")
    features = torch.from_numpy(bundle.features.transform({"x": NumberColumn(np.array([-2.0, 2.0]))}))
    answers = [bundle.targets.targets[0].classes[at] for at in bundle.model.eval()(features).argmax(1)]
    assert answers == (["high", "low"] if heavier else ["low", "high"])


def test_rows_of_weight_0_are_left_out_of_training_and_told_of(tmp_path: Path) -> None:
    files = write(tmp_path, 100, lambda x, turned: np.where(turned, 0, 4))
    task = task_of(tmp_path, files)
    prepared, alike = prepare(task), prepare(task_of(tmp_path, files, weight=None))
    assert len(prepared.train) == 50
    assert isinstance(prepared.train, Rows)
    assert isinstance(alike.train, Rows)
    torch.testing.assert_close(prepared.train.features, alike.train.features[::2])
    torch.testing.assert_close(prepared.train.targets[0], alike.train.targets[0][::2])
    assert prepared.train.weights is not None
    assert prepared.train.weights.tolist() == [2.0] * 50
    assert len(prepared.validation) == 100
    events = [event for message in run(task, Stop()) if isinstance(message, Told) for event in message.events]
    assert [event.train_rows for event in events if isinstance(event, TrainingStarted)] == [50]
    assert TrainingWarning("50 of 100 training rows have weight 0, and nothing learns from them") in events


def test_validation_rows_without_any_weight_leave_the_choice_to_the_training_loss(tmp_path: Path) -> None:
    files = write(tmp_path, 60, lambda x, turned: np.ones(60))
    validation = files[Part.VALIDATION]
    table = ipc.open_file(str(validation)).read_all()
    with ipc.new_file(str(validation), table.schema) as writer:
        writer.write_table(table.set_column(1, "weight", pa.array(np.zeros(60))))
    events = [
        event
        for message in run(task_of(tmp_path, files), Stop())
        if isinstance(message, Told)
        for event in message.events
    ]
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert [epoch.validation_loss for epoch in epochs] == [epoch.train_loss for epoch in epochs]
    assert any(
        isinstance(event, TrainingWarning) and "all validation rows have weight 0" in event.message for event in events
    )
