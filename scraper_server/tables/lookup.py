"""Finds a column by its name, or says which names are near it."""

import difflib
from collections.abc import Sequence

from scraper_server.tables.schema import Column
from servicekit.errors import InvalidArgument, Reason

SHOWN_NAMES = 5


def find_column(columns: tuple[Column, ...], name: str, field: str) -> Column:
    """The column of a name; the error for an unknown one, at `field`, shows the nearest names."""
    found = next((column for column in columns if column.name == name), None)
    if found is None:
        raise unknown_column([column.name for column in columns], name, field, "the data set")
    return found


def unknown_column(names: Sequence[str], name: str, field: str, what: str) -> InvalidArgument:
    """The error COLUMN_NOT_FOUND: `what` has no column `name`, and these of its names are near."""
    folded = {known.casefold(): known for known in names}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, SHOWN_NAMES)]
    shown = near or names[:SHOWN_NAMES]
    more = f" and {len(names) - len(shown)} more" if not near and len(names) > len(shown) else ""
    hint = ("did you mean " if near else "it has ") + ", ".join(f"'{each}'" for each in shown) + more
    message = f"{what} has no column '{name}': {hint}" + ("?" if near else "")
    return InvalidArgument(Reason.COLUMN_NOT_FOUND, message, field=field, column=name)
