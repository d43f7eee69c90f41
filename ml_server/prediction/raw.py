"""Raw values of a request, column by column, in the form in which somebody sent them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from servicekit.errors import InvalidArgument, Reason

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Texts = Sequence[str]


@dataclass(frozen=True)
class EncodedImages:
    """N encoded images, such as PNG or JPEG."""

    values: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class PixelImages:
    """N images that have the shape of the column already: pixels (N, height x width x channels)."""

    values: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.values)


RawValues = Numbers | Integers | Booleans | Texts | EncodedImages | PixelImages


@dataclass(slots=True)  # not frozen: each prediction makes one for each column
class RawColumn:
    """The values of one column as somebody sent them (N,), and the rows whose value is to be taken as missing.

    `unusable` are those of the missing rows for which something was sent that is no value of any column, with what is
    wrong with it.
    """

    values: RawValues
    missing: frozenset[int] = frozenset()
    unusable: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: Sequence[int]) -> "RawColumn":
        """The values of some rows, in this order."""
        missing = frozenset(place for place, row in enumerate(rows) if row in self.missing)
        unusable = {place: self.unusable[row] for place, row in enumerate(rows) if row in self.unusable}
        return RawColumn(_at(self.values, rows), missing, unusable)


def _at(values: RawValues, rows: Sequence[int]) -> RawValues:
    if isinstance(values, np.ndarray):
        return values[rows]
    if isinstance(values, PixelImages):
        return PixelImages(values.values[rows])
    if isinstance(values, EncodedImages):
        return EncodedImages([values.values[row] for row in rows])
    return [values[row] for row in rows]


def invalid_value(column: str, row: int, problem: str) -> InvalidArgument:
    """The error for a value that its column can't have."""
    return InvalidArgument(
        Reason.VALUE_INVALID,
        f"column '{column}', row {row}: the value {problem}",
        field="inputs",
        column=column,
        row=str(row),
    )
