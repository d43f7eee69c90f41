"""Losses and metrics against scikit-learn's and PyTorch's own."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.nn import functional

from ml_server.features.columns import ColumnType
from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.training.objective import EVALUATION_ROWS, Objective
from ml_server.training.plans import TrainingPlan
from ml_server.training.rows import Rows

KIND = FittedTarget(
    name="kind", type=ColumnType.CATEGORICAL, task=Task.MULTICLASS_CLASSIFICATION, classes=("a", "b", "c")
)
FLAG = FittedTarget(name="flag", type=ColumnType.BOOLEAN, task=Task.BINARY_CLASSIFICATION, classes=("false", "true"))
PRICE = FittedTarget(name="price", type=ColumnType.FLOAT, task=Task.REGRESSION, mean=500.0, deviation=40.0)


def objective_of(*targets: FittedTarget) -> Objective:
    """With the usual losses."""
    nothing = tuple(torch.empty(0, dtype=torch.int64) for _ in targets)
    return Objective.of(TrainingPlan(), FittedTargets(targets=targets), Rows(torch.empty(0, 1), nothing))


class Given(nn.Module):
    """A network whose outputs are its inputs."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def measure(targets: tuple[FittedTarget, ...], outputs: Tensor, *truths: Tensor) -> tuple[float, dict[str, float]]:
    """The loss, NaN for none, and the metrics by target and name."""
    objective = objective_of(*targets)
    measured = objective.evaluate(Given(), Rows(outputs, truths))
    named = {f"{metric.target}.{metric.name}": metric.value for metric in measured.quality.metrics}
    return math.nan if measured.loss is None else measured.loss, named


@pytest.mark.parametrize("target", [KIND, FLAG])
@pytest.mark.parametrize("seed", range(5))
def test_classification_is_measured_as_scikit_learn_does(target: FittedTarget, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    classes = len(target.classes)
    outputs = torch.randn(200, classes, generator=random)
    truth = torch.randint(0, classes, (200,), generator=random)
    loss, found = measure((target,), outputs, truth)
    predicted, probabilities = outputs.argmax(1).numpy(), outputs.double().softmax(1).numpy()
    area = (
        sk.roc_auc_score(truth, probabilities[:, 1])
        if classes == 2
        else sk.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    )
    assert loss == pytest.approx(sk.log_loss(truth, probabilities), rel=1e-5)
    assert found == pytest.approx(
        {
            f"{target.name}.accuracy": sk.accuracy_score(truth, predicted),
            f"{target.name}.precision_macro": sk.precision_score(truth, predicted, average="macro"),
            f"{target.name}.recall_macro": sk.recall_score(truth, predicted, average="macro"),
            f"{target.name}.f1_macro": sk.f1_score(truth, predicted, average="macro"),
            f"{target.name}.auroc": area,
        },
        rel=1e-5,
    )


@pytest.mark.parametrize("seed", range(5))
def test_regression_is_measured_in_the_targets_own_unit_as_scikit_learn_does(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    truth = torch.randn(200, generator=random)
    outputs = truth[:, None] + 0.3 * torch.randn(200, 1, generator=random)
    loss, found = measure((PRICE,), outputs, truth)
    actual, predicted = truth.double().numpy() * 40 + 500, outputs[:, 0].double().numpy() * 40 + 500
    assert loss == pytest.approx(float(np.mean((outputs[:, 0].numpy() - truth.numpy()) ** 2)), rel=1e-5)
    assert found == pytest.approx(
        {
            "price.mean_absolute_error": sk.mean_absolute_error(actual, predicted),
            "price.root_mean_squared_error": sk.root_mean_squared_error(actual, predicted),
            "price.r2": sk.r2_score(actual, predicted),
        },
        rel=1e-5,
    )


def test_a_class_that_training_never_saw_counts_as_wrong_and_not_in_the_loss() -> None:
    outputs = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0], [9.0, 0, 0]])
    loss, found = measure((KIND,), outputs, torch.tensor([0, 1, 2, UNSEEN]))
    assert found["kind.accuracy"] == 0.75
    # Class a: one of two guesses right; the unseen class: never guessed.
    assert found["kind.f1_macro"] == pytest.approx((2 / 3 + 1 + 1 + 0) / 4)
    assert found["kind.auroc"] == 1.0
    assert loss == pytest.approx(functional.cross_entropy(outputs[:3], torch.tensor([0, 1, 2])).item())


def test_the_area_under_the_curve_is_left_out_where_a_class_has_no_rows() -> None:
    _, found = measure((KIND,), torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    assert "kind.auroc" not in found
    assert "kind.accuracy" in found


def test_rows_of_unseen_classes_alone_have_no_loss() -> None:
    unseen = torch.full((3,), UNSEEN)
    loss, found = measure((KIND,), torch.randn(3, 3), unseen)
    assert math.isnan(loss)
    assert found["kind.accuracy"] == 0.0
    outputs = torch.randn(3, 4)
    price = torch.randn(3)
    loss, _ = measure((KIND, PRICE), outputs, unseen, price)
    assert loss == pytest.approx(functional.mse_loss(outputs[:, 3], price).item())


def test_a_single_row_has_no_r2_and_equal_ones_no_infinite_one() -> None:
    _, found = measure((PRICE,), torch.zeros(1, 1), torch.ones(1))
    assert set(found) == {"price.mean_absolute_error", "price.root_mean_squared_error"}
    assert found["price.mean_absolute_error"] == 40.0
    _, found = measure((PRICE,), torch.zeros(3, 1), torch.ones(3))
    assert all(math.isfinite(value) for value in found.values())


def test_the_loss_of_several_targets_is_their_mean_and_each_has_its_own_outputs() -> None:
    outputs, kinds, prices = torch.randn(50, 4), torch.randint(0, 3, (50,)), torch.randn(50)
    kind_loss = functional.cross_entropy(outputs[:, :3], kinds)
    price_loss = functional.mse_loss(outputs[:, 3], prices)
    objective = objective_of(KIND, PRICE)
    expected = (kind_loss + price_loss).item() / 2
    assert objective.loss(outputs, Rows(outputs, (kinds, prices))).item() == pytest.approx(expected)
    loss, found = measure((KIND, PRICE), outputs, kinds, prices)
    assert loss == pytest.approx(expected)
    assert {name.partition(".")[0] for name in found} == {"kind", "price"}


def test_evaluation_is_over_all_rows_without_dropout_and_leaves_the_mode() -> None:
    rows = EVALUATION_ROWS + 10
    outputs, truth = torch.randn(rows, 1), torch.randn(rows)
    model = nn.Dropout(0.5)
    model.train()
    measured = objective_of(PRICE).evaluate(model, Rows(outputs, (truth,)))
    assert measured.loss == pytest.approx(functional.mse_loss(outputs[:, 0], truth).item(), rel=1e-5)
    assert model.training
