"""Counts the cells of a column that do not fit a type, and tells of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from scraper_server.tables.arrow import Array
from scraper_server.tables.cells import as_text
from scraper_server.tables.readings import Mask
from scraper_server.tables.schema import CellExample, ColumnType, TableWarning, TypeFit, WarningKind

EXAMPLES = 5
EXAMPLE_CHARACTERS = 200

LineOf = Callable[[int], int]
"""The line in the file, from 1, of a row of a block, by its position there; 0 where a file has no lines."""

PLURALS = {
    ColumnType.INTEGER: "integers",
    ColumnType.FLOAT: "numbers",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.DATETIME: "dates or times",
}


def no_line(_position: int) -> int:
    """For files without lines."""
    return 0


@dataclass(frozen=True)
class Misfits:
    """How many cells of a block do not fit; the first ones by position and text."""

    count: int = 0
    first: tuple[tuple[int, str], ...] = ()

    @classmethod
    def among(cls, cells: Array, misfits: Mask) -> "Misfits":
        """Those that a mask marks."""
        positions = np.flatnonzero(misfits)
        first = [int(at) for at in positions[:EXAMPLES]]
        texts = (str(as_text(cells.slice(at, 1))[0].as_py())[:EXAMPLE_CHARACTERS] for at in first)
        return cls(len(positions), tuple(zip(first, texts, strict=True)))


@dataclass
class MisfitTally:
    """The cells of a whole column that do not fit."""

    count: int = 0
    first: list[CellExample] = field(default_factory=list)

    def add(self, misfits: Misfits, first_row: int, line_of: LineOf) -> None:
        """Takes those of the next block, which begins with a row of the table."""
        self.count += misfits.count
        for position, value in misfits.first[: EXAMPLES - len(self.first)]:
            self.first.append(CellExample(first_row + position, line_of(position), value))

    def fit(self, kind: ColumnType, cell_count: int) -> TypeFit:
        """How well a column of so many cells with a value fits."""
        return TypeFit(kind, 1 - self.count / cell_count if cell_count else 1.0, self.count, tuple(self.first))


def missing_by_choice(name: str, fit: TypeFit, cell_count: int) -> tuple[TableWarning, ...]:
    """A warning if a chosen type made cells missing."""
    if not fit.misfit_count:
        return ()
    first = fit.misfits[0]
    message = (
        f"column '{name}': {fit.misfit_count} of {cell_count} cells are not {PLURALS[fit.type]} and were taken as "
        f"missing, first at row {first.row}: '{first.value}'"
    )
    return (TableWarning(WarningKind.CELLS_MISFIT, name, message, fit.misfit_count, fit.misfits),)


def nearly_all_fit(name: str, fit: TypeFit, cell_count: int) -> TableWarning:
    """A warning that a few cells keep a column from a type."""
    first = fit.misfits[0]
    message = (
        f"column '{name}': {cell_count - fit.misfit_count} of {cell_count} cells are {PLURALS[fit.type]}; others such "
        f"as '{first.value}' (row {first.row}) are not: import with column_types {name}={fit.type.name} to take those "
        "as missing"
    )
    return TableWarning(WarningKind.CELLS_MISFIT, name, message, fit.misfit_count, fit.misfits)
