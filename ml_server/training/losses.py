"""The losses of one target, as a plan asks for them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ml_server.features.targets import UNSEEN, FittedTarget, Task
from ml_server.training import plans
from ml_server.training.plans import ClassificationLoss, ClassWeights, RegressionLoss, TrainingPlan
from servicekit.errors import InvalidArgument, Reason

PORTION_ROWS = 1 << 20


@dataclass(frozen=True)
class TargetLoss:
    """What is minimised for one target. `class_weights` (C,) is None where all classes count alike.

    `mean_weight` is what a training row counts on average, by its own weight and its class's.
    """

    target: FittedTarget
    regression: RegressionLoss
    classification: ClassificationLoss
    class_weights: Tensor | None = None
    mean_weight: float = 1.0

    def __call__(self, outputs: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean loss, a scalar, of outputs (N, target.width) against truth (N,), rows counted by `weights` (N,).

        Rows of a class that training never saw are left out.
        """
        if weights is None and (fast := self._mean(outputs, truth)) is not None:
            return fast
        losses, counted = self._by_row(outputs, truth)
        if weights is not None:
            losses, counted = losses * weights, counted * weights
        return losses.sum() / counted.sum()

    def of_batch(self, outputs: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch of training rows: over all batches of an epoch, its mean is that of all training rows.

        So it is divided by what as many rows weigh on average. Divided by the weight of the batch itself, as
        `__call__` does, a row would count the less the heavier it is, and in a batch of one row no weight would count.
        """
        if weights is None:
            return self(outputs, truth)
        losses, _ = self._by_row(outputs, truth)
        return (losses * weights).sum() / (len(truth) * self.mean_weight)

    def share(self, part: Tensor, whole: Tensor, weights: Tensor | None = None) -> Tensor | float:
        """What `of_batch` of a part of a batch counts in that of the whole, by their truths (n,) and (N,)."""
        if weights is None and self.class_weights is not None:
            return self.class_weights[part].sum() / self.class_weights[whole].sum()
        return len(part) / len(whole)

    def _mean(self, outputs: Tensor, truth: Tensor) -> Tensor | None:
        """The mean where PyTorch computes it in one kernel."""
        if self.target.task is Task.REGRESSION:
            return _regression(self.regression, outputs[:, 0], truth, "mean")
        if isinstance(self.classification, plans.CrossEntropy):
            return self._cross_entropy(self.classification, outputs, truth, "mean")
        return None

    def _by_row(self, outputs: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each row (N,) times its class's weight, and that weight; 0 for unseen classes."""
        if self.target.task is Task.REGRESSION:
            return _regression(self.regression, outputs[:, 0], truth, "none"), torch.ones_like(truth)
        seen = truth != UNSEEN
        known = torch.where(seen, truth, 0)
        counted = seen.to(outputs.dtype)
        if self.class_weights is not None:
            counted = counted * self.class_weights[known]
        if isinstance(self.classification, plans.CrossEntropy):
            return self._cross_entropy(self.classification, outputs, truth, "none"), counted
        return _classification(self.classification, outputs, known) * counted, counted

    def _cross_entropy(self, loss: plans.CrossEntropy, outputs: Tensor, truth: Tensor, reduction: str) -> Tensor:
        """PyTorch's, which weighs what smoothing gives to other classes by their own weights."""
        return functional.cross_entropy(
            outputs,
            truth,
            self.class_weights,
            ignore_index=UNSEEN,
            reduction=reduction,
            label_smoothing=loss.label_smoothing,
        )


def target_losses(
    plan: TrainingPlan, targets: tuple[FittedTarget, ...], truths: tuple[Tensor, ...], weights: Tensor | None = None
) -> list[TargetLoss]:
    """The loss of each target. `truths` are the training rows' (N,), from which balanced weights are counted.

    `weights` (N,) say how much each of these rows counts; None if all count alike.

    Raises:
        InvalidArgument: INVALID_FIELD, naming the field of the plan that does not suit the targets.
    """
    _check_weights(plan.class_weights, targets)
    only = _only_classes(targets)
    losses = []
    for target, truth in zip(targets, truths, strict=True):
        if isinstance(plan.classification_loss, plans.BinaryCrossEntropy) and target.task is (
            Task.MULTICLASS_CLASSIFICATION
        ):
            raise _refusal(
                "binary_cross_entropy",
                f"target '{target.name}' has {len(target.classes)} classes, and binary_cross_entropy is for two: take "
                "cross_entropy or focal",
            )
        by_class = _class_weights(plan.class_weights, target, truth, weights, is_only=target is only)
        mean = _mean_weight(by_class, truth, weights)
        losses.append(TargetLoss(target, plan.regression_loss, plan.classification_loss, by_class, mean))
    return losses


def _regression(loss: RegressionLoss, outputs: Tensor, truth: Tensor, reduction: str) -> Tensor:
    match loss:
        case plans.Mse():
            return functional.mse_loss(outputs, truth, reduction=reduction)
        case plans.Mae():
            return functional.l1_loss(outputs, truth, reduction=reduction)
        case plans.Huber(delta=delta):
            return functional.huber_loss(outputs, truth, reduction=reduction, delta=delta)


def _classification(loss: plans.BinaryCrossEntropy | plans.Focal, outputs: Tensor, truth: Tensor) -> Tensor:
    match loss:
        case plans.BinaryCrossEntropy():
            logit = outputs[:, 1] - outputs[:, 0]
            return functional.binary_cross_entropy_with_logits(logit, truth.to(logit.dtype), reduction="none")
        case plans.Focal(gamma=gamma):
            entropy = functional.cross_entropy(outputs, truth, reduction="none")
            missed = 1 - torch.exp(-entropy)
            # The slope of x ** gamma at 0 is not finite for a gamma below 1.
            return missed.clamp(min=1e-7) ** gamma * entropy


def _class_weights(
    wanted: ClassWeights, target: FittedTarget, truth: Tensor, weights: Tensor | None, *, is_only: bool
) -> Tensor | None:
    if target.task is Task.REGRESSION:
        return None
    if wanted.balanced:
        counts = torch.zeros(len(target.classes), dtype=torch.float64)
        for some, of_some in _portions(truth, weights):
            seen = some != UNSEEN
            each = torch.ones_like(some, dtype=torch.float64) if of_some is None else of_some.double()
            counts += torch.bincount(some[seen], each[seen], minlength=len(target.classes))
        return torch.where(counts > 0, counts.sum() / (len(counts) * counts), 1.0).float()
    given = {
        each.class_label: each.weight
        for each in wanted.weights
        if each.target == target.name or (not each.target and is_only)
    }
    if not given:
        return None
    return torch.tensor([given.get(label, 1.0) for label in target.classes])


def _mean_weight(by_class: Tensor | None, truth: Tensor, weights: Tensor | None) -> float:
    """What a training row counts on average; 1 without weights of rows, where no batch is divided by it."""
    if weights is None:
        return 1.0
    total = 0.0
    for some, of_some in _portions(truth, weights):
        assert of_some is not None
        total += (of_some if by_class is None else of_some * by_class[some]).double().sum().item()
    return total / len(truth)


def _portions(truth: Tensor, weights: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Truth and weights, some rows at a time: all of them may be more than memory, in pages of a file."""
    for start in range(0, len(truth), PORTION_ROWS):
        part = slice(start, start + PORTION_ROWS)
        yield truth[part], None if weights is None else weights[part]


def _only_classes(targets: tuple[FittedTarget, ...]) -> FittedTarget | None:
    """The one target that is a class; None if none or several are."""
    found = [target for target in targets if target.task is not Task.REGRESSION]
    return found[0] if len(found) == 1 else None


def _check_weights(wanted: ClassWeights, targets: tuple[FittedTarget, ...]) -> None:
    by_name = {target.name: target for target in targets}
    for position, each in enumerate(wanted.weights):
        field = f"class_weights.weights[{position}]"
        target = by_name.get(each.target) if each.target else _only_classes(targets) or targets[0]
        if not each.target and _only_classes(targets) is None and len(targets) > 1:
            raise _refusal(f"{field}.target", f"there are {len(targets)} targets, so name one of {_listed(by_name)}")
        if target is None:
            raise _refusal(f"{field}.target", f"there is no target '{each.target}': it can be {_listed(by_name)}")
        if each.class_label not in target.classes:
            raise _refusal(
                f"{field}.class_label",
                f"target '{target.name}' has no class '{each.class_label}' in the training rows: it has "
                f"{_listed(target.classes) or 'numbers, not classes'}",
            )


def _listed(names: "tuple[str, ...] | dict[str, FittedTarget]") -> str:
    shown = ", ".join(f"'{name}'" for name in list(names)[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _refusal(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(Reason.INVALID_FIELD, message, field=f"training_job.plan.{field}")
