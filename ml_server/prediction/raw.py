"""Raw values of a request, column by column, in the form in which somebody sent them."""

from collections.abc import Sequence
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


@dataclass(frozen=True)
class RawColumn:
    """The values of one column as somebody sent them (N,), and the rows whose value is to be taken as missing."""

    values: Numbers | Integers | Booleans | Texts | EncodedImages | PixelImages
    missing: frozenset[int] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(self.values)


def invalid_value(column: str, row: int, problem: str) -> InvalidArgument:
    """The error for a value that its column can't have."""
    return InvalidArgument(
        Reason.VALUE_INVALID,
        f"column '{column}', row {row}: the value {problem}",
        field="inputs",
        column=column,
        row=str(row),
    )
