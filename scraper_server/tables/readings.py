"""What a way to read text as values is: each says for every cell whether it fits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from scraper_server.tables.arrow import Array
from scraper_server.tables.schema import ColumnType

Mask = npt.NDArray[np.bool_]


class Family(StrEnum):
    """Ways to write that exclude each other in one column, and that some cells alone do not tell apart."""

    POINT = "point"  # 1.5 and 1,000
    COMMA = "comma"  # 1,5 and 1.000
    MONTH_FIRST = "month first"
    DAY_FIRST = "day first"


@dataclass(frozen=True)
class Cells:
    """Cells that were read: a value or null for each, and which of them hold text that does not fit.

    A cell that fits can be null all the same: it was missing, or a number that is not finite.
    """

    values: Array
    misfits: Mask

    @property
    def fit(self) -> bool:
        """True if every cell fits."""
        return not self.misfits.any()


@dataclass(frozen=True)
class Reading:
    """A way to read text as values of a type.

    `careful` defines what fits, cell by cell. `quick` is for what is usual: the values if all cells are sure to fit
    and are sure to have the values that `careful` gives them, else None.
    """

    name: str
    type: ColumnType
    careful: Callable[[Array], Cells] = field(compare=False)
    quick: Callable[[Array], Array | None] = field(default=lambda _: None, compare=False)
    family: Family | None = None
    decimal: str = ""
    thousands: str = ""

    def read(self, strings: Array) -> Cells:
        """Reads cells without surrounding white space. Nulls always fit."""
        values = self.quick(strings)
        return self.careful(strings) if values is None else Cells(values, np.zeros(len(strings), np.bool_))


def as_it_is(strings: Array) -> Cells:
    """Text as text."""
    return Cells(strings, np.zeros(len(strings), np.bool_))


STRING = Reading("string", ColumnType.TEXT, as_it_is)
"""What fits always."""
