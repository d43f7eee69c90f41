"""What is looked at in rows: one number or one code for each row of each column, from features and outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_server.engines.engine import Features, Outputs
from ml_server.features.encodings import CategoryEncoding, FittedColumn, ImageEncoding, NumberEncoding, TimeEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.targets import FittedTarget, FittedTargets, Task

# Of wider tables the first ones are looked at.
MAX_COLUMNS = 1_000

Measured = NDArray[np.floating[Any]] | NDArray[np.int64]


class Quantity(StrEnum):
    """What of a column is looked at."""

    VALUE = "value"
    """Its number, or for a target the predicted one."""
    CATEGORY = "category"
    """Its category. One that training never saw counts as a missing one does."""
    BRIGHTNESS = "brightness"
    """The mean of an image's features."""
    LABEL = "label"
    """The predicted class."""
    CONFIDENCE = "confidence"
    """The probability of the predicted class."""


@dataclass(frozen=True)
class Measure:
    """One quantity of one column. Categories and classes are codes below `codes`; 0: it is a number.

    A number x of a row means x / scale + shift to people. `labels` are the categories by their codes; a code beyond
    them is that of unknown ones.
    """

    column: str
    quantity: Quantity
    of: Callable[[NDArray[np.float32]], Measured]
    codes: int = 0
    shift: float = 0.0
    scale: float = 1.0
    labels: Sequence[str] = ()

    def told(self, number: float) -> float:
        """A number in the unit of the column."""
        return number / self.scale + self.shift if self.scale else number


def input_measures(features: FittedFeatures) -> list[Measure]:
    """What is looked at in features (N, layout.columns)."""
    return [_of_column(column, place) for column, place in features.places[:MAX_COLUMNS]]


def output_measures(targets: FittedTargets) -> list[Measure]:
    """What is looked at in outputs (N, targets.outputs)."""
    return [measure for target, part in targets.slices[:MAX_COLUMNS] for measure in _of_target(target, part)]


def _of_column(column: FittedColumn, place: int) -> Measure:
    match column.encoding:
        case NumberEncoding(shift=shift, scale=scale) | TimeEncoding(shift=shift, scale=scale):
            return Measure(column.name, Quantity.VALUE, lambda features: features[:, place], 0, shift, scale)
        case ImageEncoding(width=width):
            part = slice(place, place + width)
            return Measure(column.name, Quantity.BRIGHTNESS, lambda features: features[:, part].mean(axis=1))
        case CategoryEncoding() as encoding:
            return Measure(
                column.name,
                Quantity.CATEGORY,
                _codes(place, encoding.width),
                codes=encoding.codes,
                labels=encoding.categories,
            )


def _codes(place: int, width: int) -> Callable[[Features], NDArray[np.int64]]:
    if width:
        return lambda features: features[:, place : place + width].argmax(axis=1)
    return lambda features: features[:, place].astype(np.int64)


def _of_target(target: FittedTarget, part: slice) -> list[Measure]:
    if target.task is Task.REGRESSION:
        scale = 1.0 / target.deviation
        return [Measure(target.name, Quantity.VALUE, lambda outputs: outputs[:, part.start], 0, target.mean, scale)]
    return [
        Measure(
            target.name,
            Quantity.LABEL,
            lambda outputs: outputs[:, part].argmax(axis=1),
            codes=len(target.classes),
            labels=target.classes,
        ),
        Measure(target.name, Quantity.CONFIDENCE, lambda outputs: _confidence(outputs[:, part])),
    ]


def _confidence(logits: Outputs) -> NDArray[np.float32]:
    """The largest probability of each row: softmax where the logit is the largest."""
    largest: NDArray[Any] = logits.max(axis=1, keepdims=True)
    confidence: NDArray[np.float32] = 1.0 / np.exp(logits - largest).sum(axis=1)
    return confidence
