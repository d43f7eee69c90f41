"""The columns of the data set that a batch prediction makes: those kept of the view, and the predictions."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ml_server.features.columns import MISSING, Column, Columns, ColumnType, ImageColumn, NumberColumn
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.prediction.answers import Answer, Regression
from ml_server.views.fit import listed
from ml_server.views.values import View
from servicekit.errors import InvalidArgument, Reason

ARROW_TYPE: Mapping[ColumnType, "pa.DataType"] = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DATETIME: pa.timestamp("us", tz="UTC"),
    ColumnType.CATEGORICAL: pa.string(),
    ColumnType.TEXT: pa.string(),
}


@dataclass(frozen=True)
class OutputColumns:
    """The columns kept, with their types, the targets that are predicted, and which columns may lack values."""

    kept: Mapping[str, ColumnType]
    targets: FittedTargets
    lacking: Set[str]

    @cached_property
    def schema(self) -> "pa.Schema":
        """The columns as the file has them: which values are there takes as long to write as the numbers themselves."""
        fields = [pa.field(name, ARROW_TYPE[kind], name in self.lacking) for name, kind in self.kept.items()]
        for target in self.targets.targets:
            names = predicted_names(target)
            fields.append(pa.field(names[0], ARROW_TYPE[_predicted_type(target)], nullable=False))
            fields += [pa.field(name, pa.float64(), nullable=False) for name in names[1:]]
        return pa.schema(fields)

    def batch(self, columns: Columns, answers: Sequence[Answer]) -> "pa.RecordBatch":
        """Some rows: those of the view, which hold the kept columns, with their answers."""
        arrays = [_arrow(columns[name], ARROW_TYPE[kind], name in self.lacking) for name, kind in self.kept.items()]
        for target, answer in zip(self.targets.targets, answers, strict=True):
            arrays += _predictions(target, answer)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def predicted_names(target: FittedTarget) -> list[str]:
    """The columns of a target's predictions: the label or value, then the probability of each class."""
    return [f"{target.name}_predicted", *(f"{target.name}_probability_{label}" for label in target.classes)]


def view_types(view: View) -> dict[str, ColumnType]:
    """Every column of a view's rows with its type, in the order in which a data set keeps them."""
    weight = {view.weight: ColumnType.FLOAT} if view.weight is not None else {}
    inputs = {column.name: column.type for column in view.inputs}
    return inputs | {target.name: target.type for target in view.targets} | weight


def lacking_columns(view: View) -> frozenset[str]:
    """The columns of a view's rows that may lack values: no target and no weight does."""
    return frozenset(column.name for column in view.inputs if column.keeps_missing)


def kept_columns(view: View, targets: FittedTargets, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The columns to keep: those wanted, in the view's order; if None, all but images.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND, COLUMN_UNSUPPORTED for images, or COLUMN_DUPLICATE if a prediction would
            have the name of a column.
    """
    types = view_types(view)
    if wanted is None:
        kept = [name for name, kind in types.items() if kind is not ColumnType.IMAGE]
    else:
        for place, name in enumerate(wanted):
            field = f"batch_prediction.columns[{place}]"
            if name not in types:
                message = f"view '{view.name}' has no column '{name}': it has {listed(list(types))}"
                raise InvalidArgument(Reason.COLUMN_NOT_FOUND, message, field=field, column=name)
            if types[name] is ColumnType.IMAGE:
                message = f"column '{name}' holds images, which are not kept beside predictions: leave it out"
                raise InvalidArgument(Reason.COLUMN_UNSUPPORTED, message, field=field, column=name)
        kept = [name for name in types if name in set(wanted)]
    names = set(kept)
    for name in (name for target in targets.targets for name in predicted_names(target)):
        if name in names:
            message = f"'{name}' is a prediction, and a column to keep has that name: leave it out of `columns`"
            raise InvalidArgument(Reason.COLUMN_DUPLICATE, message, field="batch_prediction.columns", column=name)
        names.add(name)
    return tuple(kept)


def _arrow(column: Column, kind: "pa.DataType", may_lack: bool) -> "pa.Array[Any]":
    assert not isinstance(column, ImageColumn)
    if isinstance(column, NumberColumn):
        if kind == pa.float64():
            return pa.array(column.values, from_pandas=may_lack)
        missing = np.isnan(column.values)
        whole = np.where(missing, 0.0, column.values).astype(np.int64)
        return pa.array(whole, mask=missing).cast(kind)
    codes: Any = pa.array(column.codes, mask=column.codes == MISSING)  # the stubs take it for booleans
    return pa.array(list(column.values), pa.string()).take(codes)


def _predictions(target: FittedTarget, answer: Answer) -> Iterator["pa.Array[Any]"]:
    if isinstance(answer, Regression):
        yield pa.array(answer.values)
        return
    labels = pa.array(answer.classes, pa.string()).cast(ARROW_TYPE[_predicted_type(target)])
    indices: Any = pa.array(answer.labels)
    yield labels.take(indices)
    for column in np.ascontiguousarray(answer.probabilities.T):
        yield pa.array(column)


def _predicted_type(target: FittedTarget) -> ColumnType:
    """Labels have the type of the target, so that they can be compared with what is true."""
    if target.task is Task.REGRESSION:
        return ColumnType.FLOAT
    return target.type if target.type in (ColumnType.INTEGER, ColumnType.BOOLEAN) else ColumnType.CATEGORICAL
