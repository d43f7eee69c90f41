"""What is learned about each target: its classes or its unit, and where its outputs stand in the network's result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Column, ColumnType, NumberColumn, as_text
from ml_server.features.summaries import NumberSummary, Summary, categories_of
from ml_server.networks.values import Value
from servicekit.errors import InvalidArgument, Reason

# The index of a class that training never saw; PyTorch's losses leave such rows out.
UNSEEN = -100
MAX_CLASSES = 100_000
SHOWN_CLASSES = 10


class Task(StrEnum):
    """What is learned about a target."""

    REGRESSION = "regression"
    BINARY_CLASSIFICATION = "binary_classification"
    MULTICLASS_CLASSIFICATION = "multiclass_classification"


@dataclass(frozen=True)
class TargetColumn:
    """A target column of a view; `category_count` is that of the training rows."""

    name: str
    type: ColumnType
    category_count: int = 0


class FittedTarget(Value):
    """A target as training knows it. Regression learns (value - mean) / deviation; the rest learns class indices."""

    name: str
    type: ColumnType
    task: Task
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def width(self) -> int:
        """Outputs of the network that belong to it: one number, or a logit for each class."""
        return len(self.classes) or 1

    def transform(self, column: Column) -> NDArray[np.float32] | NDArray[np.int64]:
        """What the loss compares with (N,): standardised values float32, or class indices int64, UNSEEN if unknown."""
        if self.task is Task.REGRESSION:
            assert isinstance(column, NumberColumn), self.name
            return ((column.values - self.mean) / self.deviation).astype(np.float32)
        text = as_text(column, self.type)
        indices = np.array([*(self._indices.get(value, UNSEEN) for value in text.values), UNSEEN], dtype=np.int64)
        found: NDArray[np.int64] = indices[text.codes]
        return found

    @cached_property
    def label_bytes(self) -> int:
        """How long the longest label is, in UTF-8; 0 if there are no classes."""
        return max((len(label.encode()) for label in self.classes), default=0)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.classes)}


class FittedTargets(Value):
    """All targets, in the view's order. Their outputs stand side by side in the network's result."""

    targets: tuple[FittedTarget, ...]

    @cached_property
    def outputs(self) -> int:
        """Width of the network's result."""
        return sum(target.width for target in self.targets)

    @cached_property
    def slices(self) -> tuple[tuple[FittedTarget, slice], ...]:
        """Each target with its part of the network's result (N, outputs)."""
        found, start = [], 0
        for target in self.targets:
            found.append((target, slice(start, start + target.width)))
            start += target.width
        return tuple(found)


Known = Mapping[str, FittedTarget]
"""Targets, by name, that are fitted already."""


def expected_outputs(targets: list[TargetColumn], known: Known = MappingProxyType({})) -> int:
    """The width that `fit_targets` will give, from what the view tells without its rows.

    Raises:
        InvalidArgument: COLUMN_UNSUPPORTED or TARGET_SINGLE_CLASS.
    """
    width = 0
    for target in targets:
        if target.name in known:
            width += known[target.name].width
        elif _task_is_regression(target):
            width += 1
        else:
            _require_classes(target.name, target.category_count)
            width += target.category_count
    return width


def fit_targets(
    targets: list[TargetColumn], train: Mapping[str, Summary], known: Known = MappingProxyType({})
) -> FittedTargets:
    """Learns the classes and units that are not known from the training rows' summaries.

    Raises:
        InvalidArgument: COLUMN_UNSUPPORTED or TARGET_SINGLE_CLASS; WEIGHTS_MISMATCH, if a known target has classes that
            are not.
    """
    for target in targets:
        if target.name in known:
            _require_known(known[target.name], train[target.name])
    return FittedTargets(
        targets=tuple(known.get(target.name) or _fitted(target, train[target.name]) for target in targets)
    )


def _require_known(target: FittedTarget, train: Summary) -> None:
    if target.task is Task.REGRESSION:
        return
    if others := sorted(set(categories_of(train, target.type)) - set(target.classes), key=_natural):
        raise InvalidArgument(
            Reason.WEIGHTS_MISMATCH,
            f"target '{target.name}' has classes that the base version does not know: {some_of(others)}; it knows "
            f"{some_of(target.classes)}: take a view with these alone, or leave base_version out",
            field="training_job.base_version",
            column=target.name,
        )


def some_of(labels: Sequence[str]) -> str:
    """The first of some labels, and how many there are beside them."""
    more = f" and {len(labels) - SHOWN_CLASSES} more" if len(labels) > SHOWN_CLASSES else ""
    return ", ".join(f"'{label}'" for label in labels[:SHOWN_CLASSES]) + more


def _fitted(target: TargetColumn, train: Summary) -> FittedTarget:
    if _task_is_regression(target):
        assert isinstance(train, NumberSummary), target.name
        mean, deviation = train.scaling
        return FittedTarget(name=target.name, type=target.type, task=Task.REGRESSION, mean=mean, deviation=deviation)
    classes = tuple(sorted(categories_of(train, target.type), key=_natural))
    _require_classes(target.name, len(classes))
    task = Task.BINARY_CLASSIFICATION if len(classes) == 2 else Task.MULTICLASS_CLASSIFICATION
    return FittedTarget(name=target.name, type=target.type, task=task, classes=classes)


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers by value, before words by letter, so that class '10' comes after '9'."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _task_is_regression(target: TargetColumn) -> bool:
    if target.type in (ColumnType.DATETIME, ColumnType.TEXT):
        raise InvalidArgument(
            Reason.COLUMN_UNSUPPORTED,
            f"target column '{target.name}' is {target.type.name}, which can't be predicted: cast it in the view to "
            "FLOAT or CATEGORICAL",
            field="view",
            column=target.name,
        )
    return target.type in (ColumnType.INTEGER, ColumnType.FLOAT)


def _require_classes(name: str, count: int) -> None:
    if count < 2:
        raise InvalidArgument(
            Reason.TARGET_SINGLE_CLASS,
            f"target column '{name}' has {count} class in the training rows, and there is nothing to tell apart: take "
            "more rows, or a split that is stratified by it",
            field="view",
            column=name,
        )
    if count > MAX_CLASSES:
        raise InvalidArgument(
            Reason.COLUMN_UNSUPPORTED,
            f"target column '{name}' has {count} classes, the most is {MAX_CLASSES}: is it an id?",
            field="view",
            column=name,
        )
