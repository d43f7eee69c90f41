"""What a column of weights may hold: how much each row counts in training."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from scraper_server.tables.arrow import Array, kernels
from scraper_server.views.casting import bad_cells
from scraper_server.views.resolution import PlannedColumn
from scraper_server.views.spec import BadCells
from servicekit.errors import InvalidArgument, Reason


def bad_weights(planned: PlannedColumn, values: Array) -> BadCells | None:
    """Those of the column's values that are negative or not finite; missing ones are the missing policy's."""
    numbers = _numbers(values)
    bad = ~(np.isfinite(numbers) & (numbers >= 0)) & kernels.is_valid(values).to_numpy(zero_copy_only=False)
    return bad_cells(planned.column, planned.role_field, values, bad)


def weights_refused(bad: BadCells, value_count: int) -> InvalidArgument:
    """The error for cells that are no weights, of a column with so many values."""
    first = bad.examples[0]
    message = (
        f"column '{bad.column}': {bad.count} of {value_count} values are no weights, which are finite and at least 0, "
        f"first at row {first.row}: '{first.value}'; give it another role, or correct the file and import it again"
    )
    return InvalidArgument(
        Reason.WEIGHTS_INVALID, message, field=bad.field, column=bad.column, row=str(first.row), value=first.value
    )


def check_fill(planned: PlannedColumn, fill: float) -> None:
    """Raises WEIGHTS_INVALID if what a missing weight would become is none."""
    if not (np.isfinite(fill) and fill >= 0):
        column = planned.column.source_column
        message = f"column '{column}': fill_value '{planned.given_fill}' is no weight, which is finite and at least 0"
        raise InvalidArgument(Reason.WEIGHTS_INVALID, message, field=f"{planned.field}.fill_value", column=column)


def check_any_weight(planned: PlannedColumn, training: Iterable[Array]) -> None:
    """Raises WEIGHTS_INVALID if all training rows have weight 0. `training` are their values, in pieces."""
    count = 0
    for values in training:
        if (_numbers(values) > 0).any():
            return
        count += len(values)
    column = planned.column.source_column
    message = (
        f"column '{column}': all {count} training rows have weight 0, so there is nothing to learn from: choose "
        "another column, or another split"
    )
    raise InvalidArgument(Reason.WEIGHTS_INVALID, message, field=planned.role_field, column=column)


def _numbers(values: Array) -> npt.NDArray[np.float64]:
    """As float64, NaN where missing."""
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
