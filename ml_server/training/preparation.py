"""From a view's files to tensors: reads them, fits preprocessing on the training rows, and transforms all parts."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ml_server.features.columns import Columns, ColumnType
from ml_server.features.encodings import CategoryEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import fit
from ml_server.features.reuse import arranged, known_encodings, known_targets, unknown_categories
from ml_server.features.targets import UNSEEN, FittedTargets, Task, fit_targets, some_of
from ml_server.registry.bundle import read_preprocessing
from ml_server.training.events import TrainingWarning
from ml_server.training.row_weights import row_weights, weight_warnings
from ml_server.training.rows import Rows
from ml_server.training.task import TrainingTask
from ml_server.views.part_files import read_part
from ml_server.views.values import Part


@dataclass(frozen=True)
class Prepared:
    """A task's rows as tensors, with the preprocessing that made them."""

    features: FittedFeatures
    targets: FittedTargets
    train: Rows
    validation: Rows
    test: Rows
    warnings: tuple[TrainingWarning, ...]


def prepare(task: TrainingTask) -> Prepared:
    """Reads and transforms all rows of a task.

    Raises:
        InvalidArgument: A column can't serve in its role, a target has one class only, or classes that the base version
            does not know.
    """
    train = _columns(task, task.files[Part.TRAIN])
    features, targets = _fitted(task, train)
    validation, test = (_columns(task, task.files[part]) for part in (Part.VALIDATION, Part.TEST))
    parts = [_rows(task, features, targets, columns) for columns in (train, validation, test)]
    all_train_rows, validation_rows, test_rows = parts
    train_rows = all_train_rows.with_weight()
    warnings = (
        *_category_warnings(task, features, train),
        *weight_warnings(all_train_rows, validation_rows),
        *_warnings(targets, validation_rows, test_rows),
    )
    return Prepared(features, targets, train_rows, validation_rows, test_rows, warnings)


def _fitted(task: TrainingTask, train: Columns) -> tuple[FittedFeatures, FittedTargets]:
    """Preprocessing as the base version has it, as far as that knows the columns."""
    inputs, targets, preprocessing = list(task.inputs), list(task.targets), task.specification.preprocessing
    if task.base is None:
        return fit(inputs, preprocessing, train), fit_targets(targets, train)
    base = read_preprocessing(task.base)
    inputs, targets = arranged(inputs, base.features.columns), arranged(targets, base.targets.targets)
    features = fit(inputs, preprocessing, train, known_encodings(inputs, preprocessing, base.features))
    return features, fit_targets(targets, train, known_targets(targets, base.targets))


def _columns(task: TrainingTask, file: Path) -> Columns:
    types = {column.name: column.type for column in task.inputs} | {column.name: column.type for column in task.targets}
    if task.weight is not None:
        types[task.weight] = ColumnType.FLOAT
    return read_part(file, types)


def _rows(task: TrainingTask, features: FittedFeatures, targets: FittedTargets, columns: Columns) -> Rows:
    return Rows(
        torch.from_numpy(features.transform(columns)),
        tuple(torch.from_numpy(target.transform(columns[target.name])) for target in targets.targets),
        None if task.weight is None else row_weights(columns[task.weight]),
    )


def _category_warnings(task: TrainingTask, features: FittedFeatures, train: Columns) -> list[TrainingWarning]:
    """Tells of categories that the base version never saw, which count as one."""
    if task.base is None:
        return []
    found = []
    for column in features.columns:
        if isinstance(column.encoding, CategoryEncoding):
            unknown = unknown_categories(train[column.name], column.type, column.encoding)
            if unknown:
                found.append(
                    TrainingWarning(
                        f"column '{column.name}' has {len(unknown)} categories that the base version does not know and "
                        f"that count as one: {some_of(unknown)}"
                    )
                )
    return found


def _warnings(targets: FittedTargets, validation: Rows, test: Rows) -> tuple[TrainingWarning, ...]:
    found = []
    for part, rows in (("validation", validation), ("test", test)):
        if not len(rows):
            found.append(TrainingWarning(f"the view has no {part} rows"))
        for target, values in zip(targets.targets, rows.targets, strict=True):
            count = int((values == UNSEEN).sum()) if target.task is not Task.REGRESSION else 0
            if count:
                found.append(
                    TrainingWarning(
                        f"{count} {part} rows have a '{target.name}' that no training row has; they count as wrong: "
                        "a stratified split avoids that"
                    )
                )
    return tuple(found)
