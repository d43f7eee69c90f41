"""Tensors with names, as inference protocols have them: what a version takes and gives, and the values of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

from servicekit.errors import InvalidArgument, Reason

# A dimension of any size, such as the number of rows.
ANY = -1


class Datatype(StrEnum):
    """What a tensor holds, by the names of the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def is_number(self) -> bool:
        """True if its elements are numbers."""
        return self not in (Datatype.BOOL, Datatype.BYTES)


@dataclass(frozen=True)
class TensorSpecification:
    """What a tensor is expected to be; the rows come first, and their dimension is ANY."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype} {shape_text(self.shape)}"


@dataclass(slots=True)  # not frozen: each call makes several
class NamedTensor:
    """A tensor with its elements in row-major order, flat: an array of numbers or booleans, or BYTES one by one.

    An array may lie in the memory of the request: it is read, never written.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    values: NDArray[Any] | Sequence[bytes]

    def __str__(self) -> str:
        return f"{self.datatype} {shape_text(self.shape)}"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as protocols write it, such as `[-1,30]`."""
    return f"[{','.join(map(str, shape))}]"


def misfit(tensor: NamedTensor, *expected: TensorSpecification) -> InvalidArgument:
    """The error for a tensor that is none of those expected."""
    wanted = " or ".join(map(str, expected))
    return InvalidArgument(
        Reason.SHAPE_MISMATCH,
        f"input '{tensor.name}' is {tensor}: send {wanted}",
        field="inputs",
        input=tensor.name,
        given=str(tensor),
        expected=wanted,
    )
