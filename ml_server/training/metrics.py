"""How good outputs are: the metrics of each target and of all together, and how each class of a target does.

All figures are those that TorchMetrics defines. Of classes they follow from one count of how often each was taken for
each, since that costs a fraction of computing them one by one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score

from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.registry.values import ClassificationReport, ClassMetrics, Metric

# A matrix of more classes is left out: it would grow with their square.
MATRIX_CLASSES = 100
# A report of more classes is left out: there is one in each epoch's event, and a message holds 16 MiB at most.
REPORT_CLASSES = 1_000

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """How good outputs are."""

    metrics: tuple[Metric, ...] = ()
    reports: tuple[ClassificationReport, ...] = ()


UNKNOWN = Quality()
"""That of no rows."""


def measure(targets: FittedTargets, outputs: Tensor, truths: Sequence[Tensor]) -> Quality:
    """The quality of outputs (N, targets.outputs), N at least 1, against the values of each target (N,).

    A metric that is not defined for these rows is left out.
    """
    metrics: list[Metric] = []
    reports: list[ClassificationReport] = []
    labels: list[tuple[Counts, Counts]] = []
    for (target, part), truth in zip(targets.slices, truths, strict=True):
        if target.task is Task.REGRESSION:
            metrics += _metrics(target.name, _regression(target, outputs[:, part.start], truth))
            continue
        actual, predicted = truth.cpu().numpy(), outputs[:, part].argmax(dim=1).cpu().numpy()
        count = ClassCount.of(target, actual, predicted)
        metrics += _metrics(target.name, count.metrics() | _area(target, outputs[:, part], actual))
        if len(count.correct) <= REPORT_CLASSES:
            reports.append(count.report(target))
        labels.append((actual, predicted))
    if len(labels) > 1 and all(target.task is Task.BINARY_CLASSIFICATION for target in targets.targets):
        metrics += _metrics("", _multi_label(labels))
    return Quality(tuple(metrics), tuple(reports))


@dataclass(frozen=True)
class ClassCount:
    """How many rows of each class were taken for it, how many were taken for it in all, and how many it has (C,).

    A class that training never saw counts as one more, which is never predicted. `matrix` (C, C) has the rows of each
    class by what they were taken for, None if there are more than 100 classes.
    """

    correct: Counts
    predicted: Counts
    actual: Counts
    matrix: Counts | None

    @classmethod
    def of(cls, target: FittedTarget, actual: Counts, predicted: Counts) -> "ClassCount":
        """The counts of class indices (N,), UNSEEN among the actual ones if unknown."""
        unseen = actual == UNSEEN
        classes = len(target.classes) + bool(unseen.any())
        labels = np.where(unseen, len(target.classes), actual)
        if classes <= MATRIX_CLASSES:
            matrix = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
            return cls(matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1), matrix)
        counted = (labels[labels == predicted], predicted, labels)
        correct, taken, there = (np.bincount(each, minlength=classes) for each in counted)
        return cls(correct, taken, there, None)

    @property
    def precision(self) -> Numbers:
        """Of the rows taken for a class, the share that is of it, 0 if none was (C,)."""
        return _share(self.correct, self.predicted)

    @property
    def recall(self) -> Numbers:
        """Of the rows of a class, the share that was taken for it, 0 if it has none (C,)."""
        return _share(self.correct, self.actual)

    @property
    def f1(self) -> Numbers:
        """The harmonic mean of both (C,)."""
        return _share(2 * self.correct, self.predicted + self.actual)

    def metrics(self) -> dict[str, float]:
        """The figures of all classes together. A class without rows that nothing was taken for is in no mean."""
        there = self.predicted + self.actual > 0
        return {
            "accuracy": float(self.correct.sum() / self.actual.sum()),
            "f1_macro": float(self.f1[there].mean()),
            "precision_macro": float(self.precision[there].mean()),
            "recall_macro": float(self.recall[there].mean()),
        }

    def report(self, target: FittedTarget) -> ClassificationReport:
        """How each class does."""
        labels = (*target.classes, "")[: len(self.correct)]
        figures = zip(
            labels,
            self.precision.tolist(),
            self.recall.tolist(),
            self.f1.tolist(),
            self.actual.tolist(),
            strict=True,
        )
        matrix = () if self.matrix is None else tuple(self.matrix.ravel().tolist())
        return ClassificationReport(target.name, tuple(ClassMetrics(*each) for each in figures), matrix)


def area_under_curve(scores: Numbers, members: Counts) -> float:
    """The area under the curve of scores (N,) for rows of a class, `members`, against all others. Either has rows.

    It is the share of pairs of a member and another row in which the member has the higher score, equal ones counting
    half (Hanley and McNeil, 1982).
    """
    ordered, own = np.sort(scores), np.sort(scores[members])
    # The rank of each member among all rows, from 1; equal ones share the mean of theirs.
    ranks = (np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right") + 1) / 2
    pairs = len(own) * (len(scores) - len(own))
    return float((ranks.sum() - len(own) * (len(own) + 1) / 2) / pairs)


def _area(target: FittedTarget, outputs: Tensor, actual: Counts) -> dict[str, float]:
    seen = actual != UNSEEN
    labels = actual[seen]
    counts = np.bincount(labels, minlength=len(target.classes))
    # The area under the curve is not defined for a class without rows.
    if not counts.all():
        return {}
    # In double: a confident network's probabilities would all round to 1 in float32, and ties lose the order.
    logits = outputs.double()
    if len(counts) == 2:  # whose areas are one and the same, and whose probabilities are in the order of this
        scores = (logits[:, 1] - logits[:, 0]).cpu().numpy()[seen]
        return {"auroc": area_under_curve(scores, np.flatnonzero(labels))}
    probabilities = logits.softmax(dim=1).cpu().numpy()[seen]
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    areas = [area_under_curve(probabilities[:, place], each) for place, each in enumerate(members)]
    return {"auroc": float(np.mean(areas))}


def _regression(target: FittedTarget, outputs: Tensor, truth: Tensor) -> dict[str, float]:
    """Errors in the target's own unit."""
    predicted, actual = (each.double() * target.deviation + target.mean for each in (outputs, truth))
    metrics = {
        "mean_absolute_error": mean_absolute_error(predicted, actual).item(),
        "root_mean_squared_error": mean_squared_error(predicted, actual, squared=False).item(),
    }
    if len(actual) > 1:
        metrics["r2"] = r2_score(predicted, actual).item()
    return metrics


def _multi_label(labels: Sequence[tuple[Counts, Counts]]) -> dict[str, float]:
    """Figures of all targets of two classes together; the second class of a target says that its label is there."""
    actual, predicted = (np.stack(each, axis=1) for each in zip(*labels, strict=True))
    wrong = actual != predicted
    correct = ((actual == 1) & (predicted == 1)).sum(axis=0)
    taken = (predicted == 1).sum(axis=0) + (actual == 1).sum(axis=0)
    return {
        "exact_match": float(1 - wrong.any(axis=1).mean()),
        "hamming_distance": float(wrong.mean()),
        "f1_micro": float(_share(2 * correct.sum(), taken.sum())),
        "f1_macro": float(_share(2 * correct, taken).mean()),
    }


def _share(part: Counts, whole: Counts) -> Numbers:
    """`part / whole`, 0 where there is nothing."""
    return np.divide(part, np.maximum(whole, 1), dtype=np.float64)


def _metrics(target: str, found: dict[str, float]) -> list[Metric]:
    return [Metric(name, target, value) for name, value in found.items() if math.isfinite(value)]
