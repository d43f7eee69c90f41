"""From a view's files to rows that a network takes: transformed once, kept in the cache, and shared by jobs on them.

Rows pass through memory some megabytes at a time: first the training rows, on which preprocessing is fitted, then all.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Column, ColumnType
from ml_server.features.encodings import CategoryEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import fit, summaries_of
from ml_server.features.reuse import arranged, known_encodings, known_targets, unknown_categories
from ml_server.features.summaries import Summary
from ml_server.features.targets import UNSEEN, FittedTargets, fit_targets, some_of
from ml_server.networks.specification import Preprocessing as AskedPreprocessing
from ml_server.networks.values import Value
from ml_server.registry.bundle import Preprocessing, read_preprocessing
from ml_server.training.events import TrainingWarning
from ml_server.training.row_weights import WeightUnit, weight_warnings
from ml_server.training.rows import Rows
from ml_server.training.stored_rows import RowsWriter, StoredRows
from ml_server.training.streamed_rows import StreamedRows
from ml_server.training.task import TrainingTask
from ml_server.views.folder_cache import GIGABYTE, Lease
from ml_server.views.part_files import PartFile
from ml_server.views.values import Part
from servicekit.disk import full_disk_told

MANIFEST = "prepared.json"
# Part of each key: to be raised when equal views and specifications give other numbers, or other files, than before.
FORMAT = 1
# Rows may take one in so many bytes of a job's memory: the rest is for the network, its steps and PyTorch itself.
ROWS_SHARE = 2
NOT_LEARNED_FROM = (Part.VALIDATION, Part.TEST)

PartRows = Rows | StreamedRows


class Manifest(Value):
    """What a folder of prepared rows holds."""

    preprocessing: Preprocessing
    rows: dict[Part, int]
    is_weighted: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A task's rows, with the preprocessing that made them. Their files stay as long as `lease`."""

    features: FittedFeatures
    targets: FittedTargets
    train: PartRows
    validation: PartRows
    test: PartRows
    warnings: tuple[TrainingWarning, ...]
    lease: Lease


def prepared_key(view_digest: str, weight: str | None, preprocessing: AskedPreprocessing, base: Path | None) -> str:
    """Where the cache has the rows of a view, transformed by a specification or as a base version does it."""
    known = read_preprocessing(base).model_dump_json() if base else ""
    text = f"{FORMAT} {weight or ''} {preprocessing.model_dump_json()} {known}"
    return f"{view_digest}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def prepare(task: TrainingTask, check: Callable[[], None] = lambda: None) -> Prepared:
    """The rows of a task, transformed now if nobody did it before. `check` is called now and then, and may end it.

    Raises:
        InvalidArgument: A column can't serve in its role, a target has one class only, or classes that the base version
            does not know.
        ResourceExhausted: LIMIT_EXCEEDED: the disk is full, or the rows are more than the cache may keep.
    """
    key = prepared_key(task.provenance.view_digest, task.weight, task.specification.preprocessing, task.base)
    lease = task.cache.get(key, lambda folder: _make(task, folder, check))
    manifest = Manifest.model_validate_json((lease.directory / MANIFEST).read_bytes())
    preprocessing = manifest.preprocessing
    parts = [_stored(lease.directory, part, manifest.rows[part], preprocessing, manifest.is_weighted) for part in Part]
    train, validation, test = _opened(parts, task.memory_bytes // ROWS_SHARE)
    told = list(manifest.warnings)
    if isinstance(train, StreamedRows):
        told.append(
            f"the rows take {sum(part.size_bytes for part in parts) / GIGABYTE:.3g} GB, and a training may have "
            f"{task.memory_bytes // ROWS_SHARE / GIGABYTE:.3g} GB of them in memory here: they are streamed from the "
            "disk and shuffled by blocks"
        )
    warnings = tuple(map(TrainingWarning, told))
    return Prepared(preprocessing.features, preprocessing.targets, train, validation, test, warnings, lease)


def _opened(parts: list[StoredRows], memory_bytes: int) -> list[PartRows]:
    """The rows of all parts: in memory if so much is enough for them, else streamed."""
    if sum(part.size_bytes for part in parts) <= memory_bytes:
        return [part.mapped() for part in parts]
    return [StreamedRows(part, memory_bytes) for part in parts]


def _make(task: TrainingTask, folder: Path, check: Callable[[], None]) -> None:
    types = {column.name: column.type for column in task.inputs} | {column.name: column.type for column in task.targets}
    if task.weight is not None:
        types[task.weight] = ColumnType.FLOAT
    files = {part: PartFile(path, types) for part, path in task.files.items()}
    summaries = summaries_of(task.inputs, task.targets)
    for chunk in files[Part.TRAIN].chunks():
        check()
        summaries.add(chunk)
    preprocessing = _fitted(task, summaries.columns)
    stored = {part: _stored(folder, part, 0, preprocessing, task.weight is not None) for part in Part}
    size = sum(file.row_count * stored[part].row_bytes for part, file in files.items())
    task.cache.require_room(f"the features of view '{task.provenance.view}'", size)
    with full_disk_told(remedy="lower FLARE_ML_VIEW_CACHE_BYTES, or make room on the disk"):
        counts = {part: _write(task, stored[part], files[part], part, preprocessing, check) for part in Part}
        manifest = Manifest(
            preprocessing=preprocessing,
            rows={part: count.written for part, count in counts.items()},
            is_weighted=task.weight is not None,
            warnings=(
                *_category_warnings(task, preprocessing, summaries.columns),
                *_weight_warnings(counts),
                *(text for part in NOT_LEARNED_FROM for text in _part_warnings(part, counts[part], preprocessing)),
            ),
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json())


def _fitted(task: TrainingTask, train: Mapping[str, Summary]) -> Preprocessing:
    """Preprocessing as the base version has it, as far as that knows the columns."""
    inputs, targets, asked = list(task.inputs), list(task.targets), task.specification.preprocessing
    if task.base is None:
        return Preprocessing(features=fit(inputs, asked, train), targets=fit_targets(targets, train))
    base = read_preprocessing(task.base)
    inputs, targets = arranged(inputs, base.features.columns), arranged(targets, base.targets.targets)
    features = fit(inputs, asked, train, known_encodings(inputs, asked, base.features))
    return Preprocessing(features=features, targets=fit_targets(targets, train, known_targets(targets, base.targets)))


def _stored(folder: Path, part: Part, rows: int, preprocessing: Preprocessing, is_weighted: bool) -> StoredRows:
    width = preprocessing.features.layout.columns
    return StoredRows.of(folder, part, rows, width, preprocessing.targets, is_weighted=is_weighted)


@dataclass
class _Counts:
    """Rows of a part: those of the view, those written, those of weight 0, and by target those of an unseen class."""

    rows: int
    written: int
    without_weight: int
    unseen: list[int]


def _write(
    task: TrainingTask,
    stored: StoredRows,
    file: PartFile,
    part: Part,
    preprocessing: Preprocessing,
    check: Callable[[], None],
) -> _Counts:
    """Transforms the rows of a part; training rows of weight 0 are left out."""
    targets = preprocessing.targets.targets
    unit = None if task.weight is None else WeightUnit.of(partial(_column, file.path, task.weight))
    counts = _Counts(0, 0, 0, [0] * len(targets))
    with RowsWriter(stored) as writer:
        for chunk in file.chunks():
            check()
            others: list[NDArray[Any]] = [target.transform(chunk[target.name]) for target in targets]
            for at, truth in enumerate(others):
                counts.unseen[at] += int((truth == UNSEEN).sum()) if truth.dtype == np.int64 else 0
            weights = None
            if unit is not None and task.weight is not None:
                weights = unit.weights(chunk[task.weight])
                others.append(weights)
                counts.without_weight += int((weights == 0).sum())
            start = 0
            for block in preprocessing.features.blocks(chunk):
                rows = slice(start, start + len(block))
                arrays = [block, *(each[rows] for each in others)]
                if part is Part.TRAIN and weights is not None:
                    arrays = [each[weights[rows] > 0] for each in arrays]
                writer.write(arrays)
                counts.written += len(arrays[0])
                start = rows.stop
            counts.rows += start
    return counts


def _column(path: Path, name: str) -> Iterator[Column]:
    """A column of numbers, some rows at a time."""
    return (chunk[name] for chunk in PartFile(path, {name: ColumnType.FLOAT}).chunks())


def _weight_warnings(counts: Mapping[Part, _Counts]) -> list[str]:
    train, validation = counts[Part.TRAIN], counts[Part.VALIDATION]
    return weight_warnings(train.rows, train.without_weight, validation.rows, validation.without_weight)


def _category_warnings(task: TrainingTask, preprocessing: Preprocessing, train: Mapping[str, Summary]) -> list[str]:
    """Tells of categories that the base version never saw, which count as one."""
    if task.base is None:
        return []
    found = []
    for column in preprocessing.features.columns:
        if isinstance(column.encoding, CategoryEncoding):
            unknown = unknown_categories(train[column.name], column.type, column.encoding)
            if unknown:
                found.append(
                    f"column '{column.name}' has categories that the base version does not know and that "
                    f"count as one: {some_of(unknown)}"
                )
    return found


def _part_warnings(part: Part, counts: _Counts, preprocessing: Preprocessing) -> list[str]:
    found = [] if counts.rows else [f"the view has no {part} rows"]
    for target, count in zip(preprocessing.targets.targets, counts.unseen, strict=True):
        if count:
            found.append(
                f"{count} {part} rows have a '{target.name}' that no training row has; they count as wrong: a "
                "stratified split avoids that"
            )
    return found
