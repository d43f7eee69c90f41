"""Column names as a file has them, made unique and never empty."""

from collections.abc import Sequence

from scraper_server.tables.schema import TableWarning, WarningKind


def unique_names(found: Sequence[str]) -> tuple[tuple[str, ...], tuple[TableWarning, ...]]:
    """Names for columns whose file calls them `found`, and a warning for each that got another one.

    The first column of a name keeps it; later ones get `_2`, `_3`, ... after it. A column without a name is called
    `column_N` by its position, from 1.
    """
    trimmed = [name.strip() for name in found]
    taken = {name for name in trimmed if name}
    seen: set[str] = set()
    names: list[str] = []
    warnings: list[TableWarning] = []
    for position, name in enumerate(trimmed, 1):
        if name and name not in seen:
            seen.add(name)
            names.append(name)
            continue
        given = _free(name, position, taken)
        taken.add(given)
        names.append(given)
        reason = f"another column is called '{name}' too" if name else "it had no name"
        message = f"column {position} is called '{given}': {reason}"
        warnings.append(TableWarning(WarningKind.COLUMN_RENAMED, given, message))
    return tuple(names), tuple(warnings)


def _free(name: str, position: int, taken: set[str]) -> str:
    base = name or f"column_{position}"
    given, number = (name and f"{name}_2") or base, 2
    while given in taken:
        number += 1
        given = f"{base}_{number}"
    return given
