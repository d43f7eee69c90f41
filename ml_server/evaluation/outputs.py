"""What versions give for the rows of a part, and what is true of these rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import NumberColumn
from ml_server.features.targets import FittedTarget, Task
from ml_server.prediction.finite_features import finite_features
from ml_server.prediction.row_faults import RefusingPart
from ml_server.prediction.served_version import ServedVersion
from ml_server.views.part_files import PartFile
from ml_server.views.values import Part
from servicekit.stopping import Stopping

Outputs = NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """Outputs (N, targets.outputs) of each version, and for each target, by name, what is true of the rows (N,).

    That is numbers in the target's own unit, float64, or class indices, int64, UNSEEN for those that no version knows.
    """

    outputs: list[Outputs]
    truths: Mapping[str, NDArray[Any]]


def run_versions(
    file: PartFile, rows: int, versions: Sequence[ServedVersion], targets: Sequence[FittedTarget], stopping: Stopping
) -> Outcome:
    """Runs versions on the N test rows of a file, which has their columns and those of the targets.

    Raises:
        InvalidArgument: VALUE_INVALID, naming column and row, for a number that a version can't compute with.
    """
    outputs = [np.empty((rows, version.targets.outputs), np.float32) for version in versions]
    truths = {target.name: np.empty(rows, _truth_type(target)) for target in targets}
    start = 0
    for chunk in file.chunks():
        end = start + len(chunk[targets[0].name])
        for version, found in zip(versions, outputs, strict=True):
            stopping.check()
            features = finite_features(version.features, chunk, RefusingPart(Part.TEST, start))
            found[start:end] = version.run(features)
        for target in targets:
            column = chunk[target.name]
            if target.task is Task.REGRESSION:
                assert isinstance(column, NumberColumn), target.name
                truths[target.name][start:end] = column.values
            else:
                truths[target.name][start:end] = target.transform(column)
        start = end
    return Outcome(outputs, truths)


def _truth_type(target: FittedTarget) -> type[np.float64] | type[np.int64]:
    return np.float64 if target.task is Task.REGRESSION else np.int64
