"""What the statistics of a column say that its user should know."""

import itertools

from scraper_server.tables.schema import Column, ColumnStatistics, ColumnType, TableWarning, WarningKind
from scraper_server.tables.statistics.columns import ColumnValues

# Of a column with fewer values nothing can be said that the next rows would not change.
FEWEST_VALUES = 20
# A split has three parts, and what is in training only once can't be told from noise: 3 + 1 + 1.
RARE_BELOW = 5
# Columns of a wide table that are alike.
SHOWN_ALIKE = 100
# Estimates of different values are within about 2 percent.
NEARLY_ALL = 0.98


def column_warnings(column: Column, values: ColumnValues) -> tuple[TableWarning, ...]:
    """What is to be said of a column whose values were all seen."""
    known = column.statistics
    if known is None:
        return ()
    if not known.count:
        message = f"column '{column.name}' has no value in any row"
        return (TableWarning(WarningKind.COLUMN_EMPTY, column.name, message),)
    if known.distinct_count == 1 and known.count > 1 and not known.missing_count:
        message = f"column '{column.name}' has the same value in every row"
        return (TableWarning(WarningKind.COLUMN_CONSTANT, column.name, message),)
    if known.count < FEWEST_VALUES:
        return ()
    if _is_id_like(column.type, known, values):
        message = f"column '{column.name}' differs in nearly every row, as an id does: leave it out of the inputs"
        return (TableWarning(WarningKind.COLUMN_ID_LIKE, column.name, message, known.distinct_count),)
    if column.type in (ColumnType.CATEGORICAL, ColumnType.BOOLEAN):
        count, examples = values.rare(RARE_BELOW)
        if count:
            message = (
                f"column '{column.name}': {count} of its {known.distinct_count} classes are in fewer than {RARE_BELOW} "
                "rows, too few to be learned and to be in each part of a split; if it is a target, drop or join them"
            )
            return (TableWarning(WarningKind.CLASS_RARE, column.name, message, count, examples),)
    return ()


def summarized(warnings: list[TableWarning]) -> tuple[TableWarning, ...]:
    """The first of each kind, and one more that counts the columns of the rest: they must fit into one message."""
    found: list[TableWarning] = []
    for kind, group in itertools.groupby(sorted(warnings, key=lambda each: each.kind), lambda each: each.kind):
        alike = list(group)
        found += alike[:SHOWN_ALIKE]
        rest = len(alike) - SHOWN_ALIKE
        if rest > 0:
            message = f"{rest} more columns as this one: {alike[0].message}"
            found.append(TableWarning(kind, "", message, rest))
    return tuple(found)


def _is_id_like(kind: ColumnType, known: ColumnStatistics, values: ColumnValues) -> bool:
    """Whole numbers and keys. Measurements and times may well differ in every row, and texts do."""
    if kind is ColumnType.INTEGER:
        least = NEARLY_ALL if known.is_distinct_count_approximate else 1.0
        return known.distinct_count >= least * known.count
    return kind is ColumnType.TEXT and known.distinct_count >= NEARLY_ALL * known.count and values.look_like_keys
