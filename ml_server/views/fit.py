"""Whether a view has the columns that fitted features take."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml_server.features.features import FittedFeatures
from ml_server.views.values import View
from servicekit.errors import Reason

SHOWN = 10


@dataclass(frozen=True)
class Misfit:
    """What does not fit, as the predicate of a sentence about what has the features, and a column that it is about."""

    reason: Reason
    problem: str
    column: str


def misfit(features: FittedFeatures, view: View) -> Misfit | None:
    """COLUMN_MISSING or COLUMN_UNSUPPORTED, if the view lacks a column or has it with other values; None if it fits."""
    inputs = {column.name: column for column in view.inputs}
    missing = [column.name for column in features.columns if column.name not in inputs]
    if missing:
        problem = f"takes {listed(missing)}, and view '{view.name}' has no such input"
        return Misfit(Reason.COLUMN_MISSING, problem, missing[0])
    for column in features.columns:
        there = inputs[column.name]
        if there.type is not column.type or there.image != getattr(column.encoding, "shape", None):
            what = "of other images" if there.type is column.type else f"{there.type.name}, not {column.type.name}"
            problem = f"was trained with another '{column.name}': that of view '{view.name}' is {what}"
            return Misfit(Reason.COLUMN_UNSUPPORTED, problem, column.name)
    return None


def listed(names: Sequence[str]) -> str:
    """Names in quotes, of many the first."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
