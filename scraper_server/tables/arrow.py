"""Arrow's arrays and kernels, typed as this service uses them.

The published stubs know fewer overloads of the kernels than there are, and tell chunked arrays from plain ones, which
the kernels do not.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    Array = pa.Array[Any]
    Scalar = pa.Scalar[Any]
    Field = pa.Field[Any]
else:
    Array = pa.Array
    Scalar = pa.Scalar
    Field = pa.Field


class _Kernels(Protocol):
    def __getattr__(self, name: str) -> Callable[..., Array]: ...


class _Reductions(Protocol):
    def __getattr__(self, name: str) -> Callable[..., Scalar]: ...


# The functions of pyarrow.compute that return as many values as they take, or a selection of them ...
kernels = cast(_Kernels, pyarrow.compute)
# ... and those that return one.
reductions = cast(_Reductions, pyarrow.compute)


def plain(values: "pa.ChunkedArray[Any]") -> Array:
    """A chunked array as the kernels see it: they take either kind."""
    return cast(Array, values)


def whole(values: Array) -> Array:
    """A chunked array, or one that is whole already, in one piece."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def taken(values: Array, positions: npt.NDArray[np.int64]) -> Array:
    """The values at these positions."""
    return kernels.take(values, pa.array(positions))


def concatenated(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one schema as one batch."""
    return cast(Any, pa).concat_batches(batches)  # type: ignore[no-any-return]  # missing in the stubs


def fixed_size_lists(values: Array, type_: pa.DataType) -> Array:
    """Values as lists of equal size, without a copy."""
    return cast(Any, pa.FixedSizeListArray).from_arrays(values, type=type_)  # type: ignore[no-any-return]
