"""How far the answers of two versions for the same rows are from each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_server.prediction.answers import Answer, Classification, Regression


class Incomparable(Exception):
    """Two versions do not predict the same; the text says how they differ."""


@dataclass(frozen=True)
class Difference:
    """How two versions answer for N rows of one target.

    `agreeing` is the number of rows with equal labels, None for values. `difference` is the sum over rows of how far
    values are apart, or of the mean over all classes of how far their probabilities are.
    """

    target: str
    rows: int
    agreeing: int | None
    difference: float


def differences(answers: Sequence[Answer], others: Sequence[Answer]) -> list[Difference]:
    """The difference of each target, those of `answers`, in their order. A class that one lacks has probability 0.

    Raises:
        Incomparable: A target is missing in `others` or is of another kind there, or has numbers that are none.
    """
    by_target = {other.target: other for other in others}
    return [_difference(answer, by_target.get(answer.target)) for answer in answers]


def _difference(answer: Answer, other: Answer | None) -> Difference:
    if other is None:
        raise Incomparable(f"the shadow does not predict '{answer.target}'")
    match answer, other:
        case Regression(), Regression():
            agreeing, difference = None, float(np.abs(answer.values - other.values).sum())
        case Classification(), Classification():
            agreeing, difference = _of_classes(answer, other)
        case _:
            raise Incomparable(f"of '{answer.target}' the one predicts values and the other classes")
    if not np.isfinite(difference):
        raise Incomparable(f"predictions of '{answer.target}' are no finite numbers")
    return Difference(answer.target, _rows(answer), agreeing, difference)


def _of_classes(answer: Classification, other: Classification) -> tuple[int, float]:
    place = {label: at for at, label in enumerate(dict.fromkeys((*answer.classes, *other.classes)))}
    labels, probabilities = _placed(answer, place)
    other_labels, other_probabilities = _placed(other, place)
    distances = np.abs(probabilities - other_probabilities).mean(axis=1)
    return int((labels == other_labels).sum()), float(distances.sum())


def _placed(answer: Classification, place: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels (N,) and probabilities (N, classes of both) in the order of all classes."""
    if tuple(place) == answer.classes:
        return answer.labels, answer.probabilities
    places = np.array([place[label] for label in answer.classes], dtype=np.int64)
    probabilities = np.zeros((len(answer.labels), len(place)))
    probabilities[:, places] = answer.probabilities
    return places[answer.labels], probabilities


def _rows(answer: Answer) -> int:
    return len(answer.values if isinstance(answer, Regression) else answer.labels)
