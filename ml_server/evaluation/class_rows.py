"""Rows of a target that is a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from servicekit.stopping import Stopping

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Area:
    """The area under the curve, and how much each row (N,) moves it when it counts once more."""

    value: float
    influence: Numbers


@dataclass(frozen=True)
class Scored:
    """What a version made of N rows: the class it takes each for, and the log loss of each, 0 where it has none.

    `area` is None where it is not defined.
    """

    predicted: Indices
    log_losses: Numbers
    area: Area | None


class ClassRows:
    """Classes (N,) of rows, the index after the last for one that no version knows, with the scores of versions."""

    def __init__(self, truth: Indices, known_classes: int, scored: Sequence[Scored]) -> None:
        self.right = np.stack([each.predicted == truth for each in scored])
        self.unseen_count = int((truth == known_classes).sum())
        self._classes = known_classes + bool(self.unseen_count)
        self._versions = len(scored)
        self._areas = [each.area for each in scored if each.area is not None]
        influences = [area.influence for area in self._areas]
        seen = (truth < known_classes).astype(np.float64)
        self._statistics = np.stack([np.ones(len(truth)), seen, *(each.log_losses for each in scored), *influences])
        self._counted = self._indicators(truth, scored)

    def _indicators(self, truth: Indices, scored: Sequence[Scored]) -> sparse.csc_array:
        """Ones and zeros (C + 2 C V, N): each row's class and, by version, what it is rightly taken for, and at all."""
        places = [truth]
        values = [np.ones(len(truth))]
        for index, each in enumerate(scored):
            start = self._classes * (1 + 2 * index)
            places += [start + each.predicted, start + self._classes + each.predicted]
            values += [self.right[index].astype(np.float64), np.ones(len(truth))]
        ends = np.arange(len(truth) + 1) * len(places)
        shape = (self._classes * (1 + 2 * self._versions), len(truth))
        return sparse.csc_array((np.stack(values, 1).ravel(), np.stack(places, 1).ravel(), ends), shape=shape)

    @property
    def row_count(self) -> int:
        """N."""
        return int(self.right.shape[1])

    @cached_property
    def sum_count(self) -> int:
        """Dense and counted ones."""
        return len(self._statistics) + int(self._counted.shape[0])

    def sums(self, part: slice, weights: Numbers) -> Numbers:
        """The sums (S, B) over some rows n, counted by weights (n, B)."""
        counted = self._counted[:, part] @ weights
        return np.concatenate([self._statistics[:, part] @ weights, counted])

    def metrics(self, sums: Numbers) -> dict[str, Numbers]:
        """Each metric of each version (V, B). Resamples of an area follow from its influences: its delta method.

        DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated ROC Curves", 1988.
        """
        dense, counted = np.split(sums, [len(self._statistics)])
        rows, seen = dense[0], dense[1]
        log_losses, influences = np.split(dense[2:], [self._versions])
        actual, *taken = np.split(counted, 1 + 2 * self._versions)
        right, predicted = taken[0::2], taken[1::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "accuracy": np.stack([each.sum(axis=0) / rows for each in right]),
                "f1_macro": np.stack([_f1(*each, actual) for each in zip(right, predicted, strict=True)]),
                "log_loss": log_losses / seen,
            }
        if len(self._areas) == self._versions:
            values = np.array([area.value for area in self._areas])
            found["auroc"] = np.clip(values[:, None] + influences, 0, 1)
        return found


def _f1(right: Numbers, predicted: Numbers, actual: Numbers) -> Numbers:
    """The mean (B,) over classes of their F1, from counts (C, B); a class of no row and no prediction is in no mean."""
    both = predicted + actual
    by_class = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    mean: Numbers = by_class.sum(axis=0) / (both > 0).sum(axis=0)
    return mean


def scored(
    logits: NDArray[np.float32], truth: Indices, places: Indices, known_classes: int, stopping: Stopping
) -> Scored:
    """What logits (N, c) say of rows of classes `truth` (N,), known_classes for unseen ones.

    The version's class i is class `places[i]` of those in `truth`.
    """
    values = logits.astype(np.float64)
    highest = values.max(axis=1, keepdims=True)
    values -= highest + np.log(np.exp(values - highest).sum(axis=1, keepdims=True))  # log probabilities
    seen = truth < known_classes
    column_of = np.full(known_classes + 1, 0)
    column_of[places] = np.arange(len(places))
    own = values[np.arange(len(truth)), column_of[truth]]
    return Scored(
        predicted=places[logits.argmax(axis=1)],
        log_losses=np.where(seen, -own, 0.0),
        area=_area(values, np.where(seen, column_of[truth], -1), known_classes, stopping),
    )


def _area(log_probabilities: Numbers, columns: Indices, known_classes: int, stopping: Stopping) -> Area | None:
    """The mean area of each class against the rest; `columns` (N,) has the class of each row, -1 for none of them."""
    classes = log_probabilities.shape[1]
    seen = columns >= 0
    if classes < known_classes or len(np.unique(columns[seen])) < classes:
        return None
    known, labels = log_probabilities[seen], columns[seen]
    # The areas of two classes are one and the same, and their probabilities are in the order of the difference.
    wanted = [1] if classes == 2 else list(range(classes))
    value, influence = 0.0, np.zeros(len(columns))
    for label in wanted:
        stopping.check()
        scores = known[:, 1] - known[:, 0] if classes == 2 else known[:, label]
        area = _one_area(scores, labels == label)
        value += area.value / len(wanted)
        influence[seen] += area.influence / len(wanted)
    return Area(value, influence)


def _one_area(scores: Numbers, is_member: NDArray[np.bool_]) -> Area:
    members, others = np.sort(scores[is_member]), np.sort(scores[~is_member])
    above = _share_below(others, scores[is_member])
    below = 1 - _share_below(members, scores[~is_member])
    value = float(above.mean())
    influence = np.empty(len(scores))
    influence[is_member] = (above - value) / len(members)
    influence[~is_member] = (below - value) / len(others)
    return Area(value, influence)


def _share_below(ordered: Numbers, scores: Numbers) -> Numbers:
    """For each score the share of ordered ones below it, equal ones counting half."""
    found: Numbers = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2
    return found / len(ordered)
