"""What missing values become: given by the view's author, or learned from the training rows."""

import numpy as np
import pyarrow as pa

from scraper_server.tables.arrow import Array, Scalar, kernels, plain, reductions
from scraper_server.tables.cells import as_text
from scraper_server.tables.insisting import insisted
from scraper_server.tables.schema import ARROW_TYPES, ColumnType
from scraper_server.views.resolution import PlannedColumn
from scraper_server.views.spec import MissingPolicy
from servicekit.errors import InvalidArgument, Reason


def given_fill(planned: PlannedColumn) -> Scalar | None:
    """The value that FILL_VALUE puts in; None under any other policy.

    Raises:
        InvalidArgument: CAST_FAILED if the text is no value of the column's type.
    """
    column = planned.column
    if column.missing is not MissingPolicy.FILL_VALUE:
        return None
    if column.type.is_string:
        given: Scalar = pa.scalar(planned.given_fill)
        return given
    cells = insisted(pa.array([planned.given_fill]), column.type)
    if not cells.fit:
        message = f"column '{column.source_column}': fill_value '{planned.given_fill}' is not {_article(column.type)}"
        field = f"{planned.field}.fill_value"
        raise InvalidArgument(Reason.CAST_FAILED, message, field=field, column=column.source_column)
    read: Scalar = cells.values[0]
    return read


def learned_fill(planned: PlannedColumn, training: Array) -> Scalar:
    """The value that a mean, median or most frequent value puts in. `training` are the values of the training rows.

    The mean or median of whole numbers is rounded to one, halves to even, so that the column keeps its type.

    Raises:
        InvalidArgument: VALUES_MISSING if no training row has a value.
    """
    column = planned.column
    present = kernels.drop_null(training)
    if not len(present):
        message = (
            f"column '{column.source_column}' has no value in the {len(training)} training rows to learn a filling "
            "from: ignore the column, or give a fill_value"
        )
        raise InvalidArgument(
            Reason.VALUES_MISSING, message, field=f"{planned.field}.missing", column=column.source_column
        )
    if column.missing is MissingPolicy.FILL_MOST_FREQUENT:
        return _most_frequent(present)
    numbers = present.to_numpy()
    learned = np.mean(numbers) if column.missing is MissingPolicy.FILL_MEAN else np.median(numbers)
    value = int(np.rint(learned)) if column.type is ColumnType.INTEGER else float(learned)
    return pa.scalar(value, ARROW_TYPES[column.type])


def fill_text(fill: Scalar) -> str:
    """A filling as the contract shows it."""
    if pa.types.is_floating(fill.type):
        return repr(fill.as_py())  # so that reading it back gives the very same number
    return str(as_text(pa.array([fill.as_py()], fill.type))[0].as_py())


def _most_frequent(present: Array) -> Scalar:
    """Of equally frequent values, the smallest."""
    counts = kernels.value_counts(present)
    table = pa.table({"value": counts.field("values"), "count": counts.field("counts")})  # type: ignore[attr-defined]
    best = table.filter(kernels.equal(plain(table["count"]), reductions.max(table["count"])))
    return reductions.min(best["value"])


def _article(kind: ColumnType) -> str:
    words = {
        ColumnType.INTEGER: "a whole number",
        ColumnType.FLOAT: "a number",
        ColumnType.BOOLEAN: "true or false",
        ColumnType.DATETIME: "a date or time in ISO 8601",
    }
    return words[kind]
