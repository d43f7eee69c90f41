"""What a training minimises, and how good its result is."""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchmetrics.functional import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc, multiclass_f1_score

from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.registry.values import Metric
from ml_server.training.losses import TargetLoss, target_losses
from ml_server.training.plans import TrainingPlan
from ml_server.training.rows import Rows

EVALUATION_ROWS = 8_192
# A network makes many numbers of each feature of an image, and those of all rows of a batch are in memory at once.
EVALUATION_FEATURES = 4_000_000

Measurement = tuple[float | None, tuple[Metric, ...]]
"""The loss, None if no row has one, and the metrics."""


class Objective:
    """The mean over all targets of their losses, and the metrics of each."""

    def __init__(self, targets: FittedTargets, losses: Sequence[TargetLoss]) -> None:
        """`losses` are those of the targets, in their order."""
        self._targets = targets
        self._losses = tuple(losses)

    @classmethod
    def of(cls, plan: TrainingPlan, targets: FittedTargets, train: Rows) -> "Objective":
        """The objective of a plan for these training rows. Raises InvalidArgument as `target_losses`."""
        return cls(targets, target_losses(plan, targets.targets, train.targets))

    def to(self, device: torch.device) -> "Objective":
        """The same with its class weights on a device."""
        moved = [
            replace(loss, class_weights=None if loss.class_weights is None else loss.class_weights.to(device))
            for loss in self._losses
        ]
        return Objective(self._targets, moved)

    def loss(self, outputs: Tensor, batch: Rows) -> Tensor:
        """The loss, a scalar, of outputs (N, targets.outputs), averaged over the rows of the batch."""
        if len(self._losses) == 1:
            return self._losses[0](outputs, batch.targets[0], batch.weights)
        losses = [
            loss(outputs[:, part], truth, batch.weights)
            for loss, (_, part), truth in zip(self._losses, self._targets.slices, batch.targets, strict=True)
        ]
        return torch.stack(losses).mean()

    def evaluate(self, model: nn.Module, rows: Rows) -> Measurement:
        """Loss and metrics over all rows, at once."""
        steps = self.evaluation(model, rows)
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                measured: Measurement = ended.value
                return measured

    def evaluation(self, model: nn.Module, rows: Rows) -> Generator[None, None, Measurement]:
        """Loss and metrics over all rows, with the model in evaluation mode; its mode is put back.

        It pauses after every few thousand rows, so that its caller can tell of it, or end it. A target whose class
        training never saw in any of the rows has no loss; None if that is so for all targets.
        """
        was_training = model.training
        model.eval()
        parts = []
        try:
            size = max(1, min(EVALUATION_ROWS, EVALUATION_FEATURES // max(rows.features.shape[1], 1)))
            for batch in rows.batches(size):
                with torch.no_grad():
                    parts.append(model(batch.features))
                yield
        finally:
            model.train(was_training)
        outputs = torch.cat(parts)
        losses = [
            loss(outputs[:, part], truth, rows.weights).item()
            for loss, (target, part), truth in zip(self._losses, self._targets.slices, rows.targets, strict=True)
            if target.task is Task.REGRESSION or bool((truth != UNSEEN).any())
        ]
        metrics = [
            metric
            for (target, part), truth in zip(self._targets.slices, rows.targets, strict=True)
            for metric in _metrics(target, outputs[:, part], truth)
        ]
        return sum(losses) / len(losses) if losses else None, tuple(metrics)


def _metrics(target: FittedTarget, outputs: Tensor, truth: Tensor) -> list[Metric]:
    if target.task is Task.REGRESSION:
        found = _regression_metrics(target, outputs[:, 0], truth)
    else:
        found = _classification_metrics(target, outputs, truth)
    return [Metric(name, target.name, value) for name, value in found.items() if math.isfinite(value)]


def _regression_metrics(target: FittedTarget, outputs: Tensor, truth: Tensor) -> dict[str, float]:
    """Errors in the target's own unit, as TorchMetrics defines them."""
    predicted, actual = (each.double() * target.deviation + target.mean for each in (outputs, truth))
    metrics = {
        "mean_absolute_error": mean_absolute_error(predicted, actual).item(),
        "root_mean_squared_error": mean_squared_error(predicted, actual, squared=False).item(),
    }
    if len(actual) > 1:
        metrics["r2"] = r2_score(predicted, actual).item()
    return metrics


def _classification_metrics(target: FittedTarget, outputs: Tensor, truth: Tensor) -> dict[str, float]:
    """As TorchMetrics defines them. A class that training never saw counts as one more, which is never predicted."""
    unseen = truth == UNSEEN
    classes = len(target.classes) + bool(unseen.any())
    labels = torch.where(unseen, len(target.classes), truth)
    predicted = outputs.argmax(dim=1)
    metrics = {
        "accuracy": multiclass_accuracy(predicted, labels, num_classes=classes, average="micro").item(),
        "f1_macro": multiclass_f1_score(predicted, labels, num_classes=classes, average="macro").item(),
    }
    # The area under the curve is not defined for a class without rows.
    if len(torch.unique(truth[~unseen])) == len(target.classes):
        # In double: a confident network's probabilities would all round to 1 in float32, and ties lose the order.
        probabilities = outputs[~unseen].double().softmax(dim=1)
        metrics["auroc"] = multiclass_auroc(
            probabilities, truth[~unseen], num_classes=len(target.classes), average="macro"
        ).item()
    return metrics
