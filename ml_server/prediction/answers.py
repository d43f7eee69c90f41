"""What predictions say: labels with probabilities, or values in the target's own unit."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_server.engines.engine import Outputs
from ml_server.features.targets import FittedTarget, FittedTargets, Task

FEW_CLASSES = 16
FEW_PROBABILITIES = 4096
# Up to so many outputs, Python is quicker than the calls of NumPy that they would take.
FEW_OUTPUTS = 24
# Of float64: with a larger one the less probable of two classes would have no probability that is a number.
LARGEST_EXPONENT = 709.0


@dataclass(slots=True)  # not frozen: each prediction makes one
class Regression:
    """Values (N,) in the target's own unit."""

    target: str
    values: NDArray[np.float64]


@dataclass(slots=True)  # not frozen: each prediction makes one
class Classification:
    """Probabilities (N, classes), and the index of the most probable class of each row (N,)."""

    target: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def best(self, count: int) -> NDArray[np.int64]:
        """The indices of the most probable classes of each row (N, count or classes), most probable first.

        Of classes that are equally probable the one with the lower index comes first.
        """
        falling = -self.probabilities
        if count >= falling.shape[1] or falling.size < FEW_PROBABILITIES:
            return _sorted(falling)[:, :count]
        best = np.sort(np.argpartition(falling, count - 1, axis=1)[:, :count], axis=1)
        values = np.take_along_axis(falling, best, axis=1)
        best = np.take_along_axis(best, _sorted(values), axis=1)
        # A partition takes any of those that are as probable as the last one.
        are_tied = np.count_nonzero(falling <= values.max(axis=1, keepdims=True), axis=1) != count
        best[are_tied] = _sorted(falling[are_tied])[:, :count]
        return best


def _sorted(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The indices of each row's values, the smallest first; of equal ones the first, and what is no number last."""
    return np.argsort(values, axis=1, kind="stable")


Answer = Regression | Classification


def answers_of(targets: FittedTargets, outputs: Outputs) -> list[Answer]:
    """The answer for each target from a network's outputs (N, targets.outputs)."""
    return [_answer(target, outputs[:, part]) for target, part in targets.slices]


def _answer(target: FittedTarget, outputs: Outputs) -> Answer:
    if target.task is Task.REGRESSION:
        return Regression(target.name, outputs[:, 0].astype(np.float64) * target.deviation + target.mean)
    if 0 < outputs.size <= FEW_OUTPUTS:
        rows = [shares_of_row(row) for row in outputs.tolist()]
        labels = [row.index(max(row)) for row in rows]
        return Classification(target.name, target.classes, np.array(labels), np.array(rows))
    probabilities = _softmax_of_two(outputs) if outputs.shape[1] == 2 else _softmax(outputs)
    return Classification(target.name, target.classes, _most_probable(probabilities), probabilities)


def shares_of_row(outputs: list[float]) -> list[float]:
    """The probabilities of a row's classes: as of many rows together, to within an ulp."""
    if len(outputs) == 2:
        odds = math.exp(min(outputs[0] - outputs[1], LARGEST_EXPONENT))
        return [odds / (odds + 1.0), 1.0 / (odds + 1.0)]
    top = max(outputs)
    exponentials = [math.exp(output - top) for output in outputs]
    total = sum(exponentials)
    return [each / total for each in exponentials]


def _softmax_of_two(outputs: Outputs) -> NDArray[np.float64]:
    """As `_softmax` of two classes, from the difference alone: half as many exponentials, and no sums along them."""
    odds = np.subtract(outputs[:, 0], outputs[:, 1], dtype=np.float64)
    np.exp(np.minimum(odds, LARGEST_EXPONENT, out=odds), out=odds)
    shares = np.empty((2, len(outputs)))
    first, second = shares
    np.add(odds, 1.0, out=second)
    np.divide(odds, second, out=first)
    np.divide(1.0, second, out=second)
    return shares.T


def _softmax(outputs: Outputs) -> NDArray[np.float64]:
    """Probabilities (N, classes). Outputs that are no numbers stay so."""
    # Sums along a few numbers that lie together take NumPy several times as long as sums along many.
    turned = outputs.shape[1] < FEW_CLASSES
    exponentials = (outputs.T if turned else outputs).astype(np.float64, order="C")
    axis = 0 if turned else 1
    exponentials -= np.maximum.reduce(exponentials, axis=axis, keepdims=True)
    np.exp(exponentials, out=exponentials)
    exponentials /= np.add.reduce(exponentials, axis=axis, keepdims=True)
    return exponentials.T if turned else exponentials


def _most_probable(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of the most probable class of each row (N,), the lower one of two that are equally probable."""
    if probabilities.shape[1] == 2:  # of which NumPy's own way takes several times as long
        return (probabilities[:, 1] > probabilities[:, 0]).astype(np.int64)
    labels: NDArray[np.int64] = probabilities.argmax(axis=1)
    return labels
