"""What stands for a value of the traced module while its graph is written."""

from dataclasses import dataclass, replace
from typing import Any, Final

from torch import Tensor

BATCH: Final = -1
"""Stands in a shape for the size of the batch."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """A result in the graph. `shape` is that of the traced value, with BATCH for the batch dimension."""

    reference: str
    shape: Shape
    has_batch: bool = True
    """False for what only weights and constants decide: in the graph it has size 1 where `shape` has BATCH."""
    is_whole: bool = False
    """True for what the module made whole numbers of: only an embedding can take it."""

    @property
    def rank(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def graph_shape(self) -> Shape:
        """The shape that it has in the graph, with BATCH for the batch dimension."""
        return self.shape if self.has_batch else tuple(1 if size == BATCH else size for size in self.shape)

    def shaped(self, shape: Shape) -> "Result":
        """The same result, seen with another shape that broadcasts alike."""
        return replace(self, shape=shape)


@dataclass(frozen=True, eq=False)
class ConstantTensor:
    """A tensor that neither input nor weights decide, such as a mask or a buffer.

    With BATCH in its `shape` it is the same for each row, and `value` has size 1 there.
    """

    value: Tensor
    shape: Shape


class Varying:
    """A number, or several, that depends on the size of the batch."""


VARYING: Final = Varying()

Item = Any
"""Result, ConstantTensor, VARYING, a plain Python value, or a tuple or list of items."""
