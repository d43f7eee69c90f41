"""Turns a column's values into another type, or says which of them can't be."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from scraper_server.tables.arrow import Array, whole
from scraper_server.tables.cells import as_text
from scraper_server.tables.converting import can_become, converted, unfit_numbers
from scraper_server.tables.inference import READINGS
from scraper_server.tables.insisting import insisted
from scraper_server.tables.readings import Family, Reading
from scraper_server.tables.schema import ARROW_TYPES, CellExample, ColumnType
from scraper_server.views.resolution import PlannedColumn
from scraper_server.views.spec import BadCells, ViewColumn
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
SHOWN_CELLS = 20


def needs_values(planned: PlannedColumn) -> bool:
    """False if every value of the column is of its type in the view already, or can be."""
    source, wanted = planned.source_type, planned.column.type
    return not (source is wanted or wanted.is_string or ARROW_TYPES[source] == ARROW_TYPES[wanted])


def plain_cast(planned: PlannedColumn) -> Cast:
    """How to turn values that need no look into the type that the view wants."""
    source, wanted = planned.source_type, planned.column.type
    return _same if source is wanted or ARROW_TYPES[source] == ARROW_TYPES[wanted] else as_text


def cast_for(planned: PlannedColumn, values: Array) -> tuple[Cast, BadCells | None]:
    """How to turn the column's values, or any slice of them, into the type that the view wants, and those that don't
    fit it: they become missing.

    `values` are all of them, so that what can't be turned is found before any row is written.

    Raises:
        InvalidArgument: CAST_FAILED, if the type is one that no value of the column can have.
    """
    source, wanted = planned.source_type, planned.column.type
    if source.is_string:
        return _reading_for(planned, whole(values))
    if not can_become(source, wanted):
        name = planned.column.source_column
        message = f"column '{name}' is {source.value}, which can't become {wanted.value}: leave out its cast"
        raise InvalidArgument(Reason.CAST_FAILED, message, field=f"{planned.field}.cast", column=name)
    return lambda part: converted(part, source, wanted).values, _bad_cells(
        planned, values, unfit_numbers(values, wanted)
    )


def bad_cells(column: ViewColumn, field: str, values: Array, bad: npt.NDArray[np.bool_]) -> BadCells | None:
    """Those of a column's values that are marked as bad, with the first of them; None if none is."""
    places = np.flatnonzero(bad)
    if not len(places):
        return None
    examples = tuple(
        CellExample(int(place), value=str(as_text(values.slice(place, 1)).to_pylist()[0])[:SHOWN_CHARACTERS])
        for place in places[:SHOWN_CELLS]
    )
    return BadCells(column.source_column, field, column.type, len(places), examples)


def cast_failed(bad: BadCells, value_count: int) -> InvalidArgument:
    """The error for cells that do not fit, of a column with so many values."""
    first = bad.examples[0]
    message = (
        f"column '{bad.column}': {bad.count} of {value_count} values are not {_PLURALS[bad.type]}, first at row "
        f"{first.row}: '{first.value}'; leave out the cast, ignore the column, or correct the file and import it again"
    )
    return InvalidArgument(
        Reason.CAST_FAILED, message, field=bad.field, column=bad.column, row=str(first.row), value=first.value
    )


def _reading_for(planned: PlannedColumn, strings: Array) -> tuple[Cast, BadCells | None]:
    wanted = planned.column.type
    usual = next((each for each in READINGS if _reads_all(each, wanted, strings)), None)
    bad = _bad_cells(planned, strings, insisted(strings, wanted, usual).misfits)
    return lambda part: insisted(whole(part), wanted, usual).values, bad


def _reads_all(reading: Reading, wanted: ColumnType, strings: Array) -> bool:
    return reading.type is wanted and reading.family not in _UNASKED and reading.read(strings).fit


def _bad_cells(planned: PlannedColumn, values: Array, unfit: npt.NDArray[np.bool_]) -> BadCells | None:
    return bad_cells(planned.column, f"{planned.field}.cast", values, unfit)


def _same(values: Array) -> Array:
    return values
