"""Turns a column's values into another type, or says which of them can't be."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, whole
from scraper_server.tables.cells import as_text
from scraper_server.tables.inference import READINGS
from scraper_server.tables.insisting import insisted
from scraper_server.tables.readings import Family, Reading
from scraper_server.tables.schema import ARROW_TYPES, ColumnType
from scraper_server.views.resolution import PlannedColumn
from servicekit.errors import InvalidArgument, Reason

Cast = Callable[[Array], Array]

_PLURALS = {
    ColumnType.INTEGER: "whole numbers",
    ColumnType.FLOAT: "numbers",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.DATETIME: "dates or times in ISO 8601",
}
# Of two ways to write that can't be told apart, a view takes neither of these without being asked.
_UNASKED = (Family.COMMA, Family.MONTH_FIRST, Family.DAY_FIRST)
SHOWN_CHARACTERS = 60


def cast_for(planned: PlannedColumn, values: Array) -> Cast:
    """How to turn the column's values, or any slice of them, into the type that the view wants.

    `values` are all of them, so that what can't be turned is found before any row is written.

    Raises:
        InvalidArgument: CAST_FAILED, with the number of values that do not fit, and the first.
    """
    source, wanted = planned.source_type, planned.column.type
    if source is wanted or ARROW_TYPES[source] == ARROW_TYPES[wanted]:
        return _same
    if wanted.is_string:
        return as_text
    if source.is_string:
        return _reading_for(planned, whole(values))
    if ColumnType.DATETIME in (source, wanted):
        name = planned.column.source_column
        message = f"column '{name}' is {source.value}, which can't become {wanted.value}: leave out its cast"
        raise InvalidArgument(Reason.CAST_FAILED, message, field=f"{planned.field}.cast", column=name)
    unfit = _unfit_numbers(values, wanted)
    if unfit.any():
        raise _failed(planned, values, unfit)
    return lambda part: kernels.cast(part, ARROW_TYPES[wanted])


def _reading_for(planned: PlannedColumn, strings: Array) -> Cast:
    wanted = planned.column.type
    usual = next((each for each in READINGS if _reads_all(each, wanted, strings)), None)
    cells = insisted(strings, wanted, usual)
    if not cells.fit:
        raise _failed(planned, strings, cells.misfits)
    return lambda part: insisted(whole(part), wanted, usual).values


def _reads_all(reading: Reading, wanted: ColumnType, strings: Array) -> bool:
    return reading.type is wanted and reading.family not in _UNASKED and reading.read(strings).fit


def _unfit_numbers(values: Array, wanted: ColumnType) -> npt.NDArray[np.bool_]:
    """Which numbers (or booleans) the wanted type can't hold."""
    if wanted is ColumnType.BOOLEAN:
        numbers = kernels.cast(values, pa.float64(), safe=False)
        fit = kernels.is_in(numbers, value_set=pa.array([0.0, 1.0, None]))
    elif wanted is ColumnType.INTEGER and pa.types.is_floating(values.type):
        whole = kernels.equal(kernels.floor(values), values)
        fit = kernels.and_(whole, kernels.less(kernels.abs(values), 2.0**63))
    else:
        return np.zeros(len(values), np.bool_)
    unfit: npt.NDArray[np.bool_] = kernels.invert(kernels.fill_null(fit, True)).to_numpy(zero_copy_only=False)
    return unfit


def _failed(planned: PlannedColumn, values: Array, unfit: npt.NDArray[np.bool_]) -> InvalidArgument:
    name, first = planned.column.source_column, int(np.flatnonzero(unfit)[0])
    shown = str(as_text(values.slice(first, 1)).to_pylist()[0])[:SHOWN_CHARACTERS]
    message = (
        f"column '{name}': {int(unfit.sum())} of {len(values) - values.null_count} values are not "
        f"{_PLURALS[planned.column.type]}, first at row {first}: '{shown}'; leave out the cast, ignore the column, or "
        "correct the file and import it again"
    )
    return InvalidArgument(
        Reason.CAST_FAILED, message, field=f"{planned.field}.cast", column=name, row=str(first), value=shown
    )


def _same(values: Array) -> Array:
    return values
