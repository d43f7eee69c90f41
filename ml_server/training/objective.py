"""What a training minimises, and how good its result is."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc, multiclass_f1_score

from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.registry.values import Metric
from ml_server.training.rows import Rows

EVALUATION_ROWS = 8_192


class Objective:
    """The mean over all targets of their losses: squared error of standardised values, or cross entropy."""

    def __init__(self, targets: FittedTargets) -> None:
        self._targets = targets

    def loss(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """The loss, a scalar, of outputs (N, targets.outputs), averaged over the rows."""
        losses = [
            _loss(target, outputs[:, part], truth)
            for (target, part), truth in zip(self._targets.slices, targets, strict=True)
        ]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    @torch.no_grad()
    def evaluate(self, model: nn.Module, rows: Rows) -> tuple[float | None, tuple[Metric, ...]]:
        """Loss and metrics over all rows, with the model in evaluation mode; its mode is put back.

        A target whose class training never saw in any of the rows has no loss; None if that is so for all targets.
        """
        was_training = model.training
        model.eval()
        try:
            outputs = torch.cat([model(batch.features) for batch in rows.batches(EVALUATION_ROWS)])
        finally:
            model.train(was_training)
        losses = [
            _loss(target, outputs[:, part], truth).item()
            for (target, part), truth in zip(self._targets.slices, rows.targets, strict=True)
            if target.task is Task.REGRESSION or bool((truth != UNSEEN).any())
        ]
        loss = sum(losses) / len(losses) if losses else None
        metrics = [
            metric
            for (target, part), truth in zip(self._targets.slices, rows.targets, strict=True)
            for metric in _metrics(target, outputs[:, part], truth)
        ]
        return loss, tuple(metrics)


def _loss(target: FittedTarget, outputs: Tensor, truth: Tensor) -> Tensor:
    if target.task is Task.REGRESSION:
        return functional.mse_loss(outputs[:, 0], truth)
    return functional.cross_entropy(outputs, truth, ignore_index=UNSEEN)


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
