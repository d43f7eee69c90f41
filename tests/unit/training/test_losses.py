"""The losses of targets: PyTorch's own values, row by row and on the whole."""

import pytest
import torch
from torch.nn import functional

from ml_server.features.columns import ColumnType
from ml_server.features.targets import UNSEEN, FittedTarget, Task
from ml_server.training.losses import TargetLoss, target_losses
from ml_server.training.plans import (
    BinaryCrossEntropy,
    ClassificationLoss,
    ClassWeight,
    ClassWeights,
    CrossEntropy,
    Focal,
    Huber,
    Mae,
    Mse,
    RegressionLoss,
    TrainingPlan,
)
from servicekit.errors import InvalidArgument, Reason

KIND = FittedTarget(
    name="kind", type=ColumnType.CATEGORICAL, task=Task.MULTICLASS_CLASSIFICATION, classes=("a", "b", "c")
)
FLAG = FittedTarget(name="flag", type=ColumnType.BOOLEAN, task=Task.BINARY_CLASSIFICATION, classes=("false", "true"))
PRICE = FittedTarget(name="price", type=ColumnType.FLOAT, task=Task.REGRESSION)
OTHER = FittedTarget(
    name="other", type=ColumnType.CATEGORICAL, task=Task.MULTICLASS_CLASSIFICATION, classes=("a", "b", "c")
)

OUTPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
TRUTH = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))
WEIGHTS = torch.rand(40, generator=torch.Generator().manual_seed(3))


def loss_of(target: FittedTarget, truth: torch.Tensor, plan: TrainingPlan) -> TargetLoss:
    return target_losses(plan, (target,), (truth,))[0]


@pytest.mark.parametrize(
    ("loss", "reference"), [(Mse(), "mse_loss"), (Mae(), "l1_loss"), (Huber(delta=0.3), "huber_loss")]
)
def test_losses_of_numbers_are_those_of_pytorch(loss: RegressionLoss, reference: str) -> None:
    outputs, truth = OUTPUTS[:, :1], OUTPUTS[:, 2]
    options = {"delta": 0.3} if isinstance(loss, Huber) else {}
    ours = loss_of(PRICE, truth, TrainingPlan(regression_loss=loss))
    theirs = getattr(functional, reference)(outputs[:, 0], truth, **options)
    assert ours(outputs, truth).item() == pytest.approx(theirs.item())
    by_row = getattr(functional, reference)(outputs[:, 0], truth, reduction="none", **options)
    expected = (by_row * WEIGHTS).sum() / WEIGHTS.sum()
    assert ours(outputs, truth, WEIGHTS).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_and_its_weights_are_those_of_pytorch(smoothing: float) -> None:
    weights = (ClassWeight(target="kind", class_label="b", weight=5.0),)
    plan = TrainingPlan(
        classification_loss=CrossEntropy(label_smoothing=smoothing), class_weights=ClassWeights(weights=weights)
    )
    ours = loss_of(KIND, TRUTH, plan)
    by_class = torch.tensor([1.0, 5.0, 1.0])
    theirs = functional.cross_entropy(OUTPUTS, TRUTH, by_class, label_smoothing=smoothing)
    assert ours(OUTPUTS, TRUTH).item() == pytest.approx(theirs.item())


def test_binary_cross_entropy_is_the_cross_entropy_of_two_classes() -> None:
    truth = TRUTH.clamp(max=1)
    outputs = OUTPUTS[:, :2]
    binary = loss_of(FLAG, truth, TrainingPlan(classification_loss=BinaryCrossEntropy()))
    theirs = functional.binary_cross_entropy_with_logits(outputs[:, 1] - outputs[:, 0], truth.float())
    assert binary(outputs, truth).item() == pytest.approx(theirs.item())
    assert theirs.item() == pytest.approx(functional.cross_entropy(outputs, truth).item(), rel=1e-5)


def test_focal_loss_is_its_formula_and_without_gamma_the_cross_entropy() -> None:
    right = OUTPUTS.softmax(1)[torch.arange(40), TRUTH]
    focal = loss_of(KIND, TRUTH, TrainingPlan(classification_loss=Focal(gamma=3.0)))
    assert focal(OUTPUTS, TRUTH).item() == pytest.approx(((1 - right) ** 3 * -right.log()).mean().item(), rel=1e-5)
    plain = loss_of(KIND, TRUTH, TrainingPlan(classification_loss=Focal(gamma=0.0)))
    assert plain(OUTPUTS, TRUTH).item() == pytest.approx(functional.cross_entropy(OUTPUTS, TRUTH).item(), rel=1e-5)


def test_a_focal_loss_that_is_right_already_has_finite_gradients() -> None:
    sure = torch.tensor([[100.0, 0, 0]], requires_grad=True)
    loss = loss_of(KIND, TRUTH, TrainingPlan(classification_loss=Focal(gamma=0.5)))
    loss(sure, torch.tensor([0])).backward()  # type: ignore[no-untyped-call]
    assert sure.grad is not None
    assert bool(torch.isfinite(sure.grad).all())


def test_balanced_weights_make_classes_count_alike() -> None:
    truth = torch.tensor([0] * 6 + [1] * 3 + [2])
    loss = loss_of(KIND, truth, TrainingPlan(class_weights=ClassWeights(balanced=True)))
    assert loss.class_weights is not None
    assert (loss.class_weights * torch.tensor([6.0, 3, 1])).tolist() == pytest.approx([10 / 3] * 3)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(label_smoothing=0.1), Focal()])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_rows_of_classes_that_training_never_saw_are_left_out(
    loss: ClassificationLoss, weights: torch.Tensor | None
) -> None:
    objective = loss_of(KIND, TRUTH, TrainingPlan(classification_loss=loss))
    some = torch.where(torch.arange(40) % 4 == 0, UNSEEN, TRUTH)
    seen = some != UNSEEN
    kept = None if weights is None else weights[seen]
    assert objective(OUTPUTS, some, weights).item() == pytest.approx(objective(OUTPUTS[seen], TRUTH[seen], kept).item())


def test_equal_row_weights_change_nothing_and_a_row_of_weight_0_is_not_there() -> None:
    for plan in (TrainingPlan(), TrainingPlan(class_weights=ClassWeights(balanced=True))):
        loss = loss_of(KIND, TRUTH, plan)
        assert loss(OUTPUTS, TRUTH, torch.full((40,), 3.0)).item() == pytest.approx(loss(OUTPUTS, TRUTH).item())
        weights = (torch.arange(40) < 30).float()
        assert loss(OUTPUTS, TRUTH, weights).item() == pytest.approx(loss(OUTPUTS[:30], TRUTH[:30]).item())


def test_weights_of_classes_need_no_name_if_just_one_target_is_a_class() -> None:
    plan = TrainingPlan(class_weights=ClassWeights(weights=(ClassWeight(target="", class_label="b", weight=2),)))
    price, kind = target_losses(plan, (PRICE, KIND), (OUTPUTS[:, 0], TRUTH))
    assert price.class_weights is None
    assert kind.class_weights is not None
    assert kind.class_weights.tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("plan", "field", "said"),
    [
        (TrainingPlan(classification_loss=BinaryCrossEntropy()), "binary_cross_entropy", "has 3 classes"),
        (
            TrainingPlan(class_weights=ClassWeights(weights=(ClassWeight(target="x", class_label="a", weight=2),))),
            "class_weights.weights[0].target",
            "there is no target 'x': it can be 'kind', 'price', 'other'",
        ),
        (
            TrainingPlan(class_weights=ClassWeights(weights=(ClassWeight(target="kind", class_label="z", weight=2),))),
            "class_weights.weights[0].class_label",
            "has no class 'z' in the training rows: it has 'a', 'b', 'c'",
        ),
        (
            TrainingPlan(class_weights=ClassWeights(weights=(ClassWeight(target="price", class_label="1", weight=2),))),
            "class_weights.weights[0].class_label",
            "numbers, not classes",
        ),
        (
            TrainingPlan(class_weights=ClassWeights(weights=(ClassWeight(target="", class_label="a", weight=2),))),
            "class_weights.weights[0].target",
            "there are 3 targets, so name one of 'kind', 'price', 'other'",
        ),
    ],
)
def test_what_does_not_suit_the_targets_is_refused_with_its_place(plan: TrainingPlan, field: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        target_losses(plan, (KIND, PRICE, OTHER), (TRUTH, OUTPUTS[:, 0], TRUTH))
    assert refused.value.reason is Reason.INVALID_FIELD
    assert refused.value.violations[0].field == f"training_job.plan.{field}"
    assert said in refused.value.message
