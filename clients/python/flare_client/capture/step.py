"""One operation of the traced module on its way into the graph: what the rules work with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from flare.ml.v1 import torch_graph_pb2 as pb
from google.protobuf.message import Message
from torch import Tensor, nn

from flare_client.capture.errors import CaptureError
from flare_client.capture.graph_builder import GraphBuilder
from flare_client.capture.items import BATCH, VARYING, ConstantTensor, Item, Result, Shape

REMEDY = (
    "use operations that a graph has (linear, convolution, pooling, normalisation, activation, dropout, embedding, "
    "LSTM, GRU, attention, transformer encoder, arithmetic, reshaping), or offer the module as a registered module"
)

_KEEPS_WHOLE = (
    pb.Flatten,
    pb.Reshape,
    pb.Permute,
    pb.Select,
    pb.Narrow,
    pb.Unsqueeze,
    pb.Squeeze,
    pb.Concat,
    pb.Add,
    pb.Subtract,
)


@dataclass
class Step:
    """Where the operation comes from, what it gives, and the graph that it is written to."""

    builder: GraphBuilder
    constants: dict[ConstantTensor, Result]
    place: str
    name: str
    shape: Shape
    """Of the result, empty if that is no tensor."""
    dtype: torch.dtype | None = None
    part_shapes: tuple[Shape, ...] = ()
    module: nn.Module | None = field(default=None)

    def emit(
        self,
        operation: Message,
        *inputs: Item,
        shape: Shape | None = None,
        name: str = "",
        weights: Mapping[str, Tensor] | None = None,
    ) -> Result:
        """Adds a node that takes the inputs; its result has `shape`, or that of the whole step."""
        results = [self.result(item) for item in inputs]
        is_whole = any(result.is_whole for result in results)
        if is_whole and not isinstance(operation, (*_KEEPS_WHOLE, pb.Embedding)):
            raise self.error(
                "it computes with whole numbers", "take the cast to whole numbers out; only an embedding needs it"
            )
        references = [result.reference for result in results]
        node_id = self.builder.add(name or self.name, operation, references, weights, self.place)
        return Result(
            node_id,
            self.shape if shape is None else shape,
            has_batch=any(result.has_batch for result in results),
            is_whole=is_whole and not isinstance(operation, pb.Embedding),
        )

    def learned(self, name: str, tensor: Tensor, shape: Shape) -> Result:
        """Adds a parameter that training changes."""
        value = tensor.detach().reshape(tensor.shape or (1,))
        deviation = float(value.std(unbiased=False)) if value.numel() else 0.0
        operation = pb.Parameter(shape=value.shape, initial_standard_deviation=deviation)
        node_id = self.builder.add(name, operation, [], {"value": value}, self.place)
        return Result(node_id, shape, has_batch=False)

    def constant(self, value: Tensor, shape: Shape, name: str = "constant") -> Result:
        """Adds a parameter that training leaves as it is."""
        value = value.detach().reshape(value.shape or (1,)).to(torch.float32)
        operation = pb.Parameter(shape=value.shape, frozen=True)
        node_id = self.builder.add(name, operation, [], {"value": value}, self.place, is_constant=True)
        return Result(node_id, shape, has_batch=False)

    def result(self, item: Item) -> Result:
        """The item as a result in the graph; a constant tensor becomes a frozen parameter, once."""
        if isinstance(item, Result):
            return item
        if isinstance(item, ConstantTensor):
            if item not in self.constants:
                self.constants[item] = self.constant(item.value, item.shape, f"{self.name}_constant")
            return self.constants[item]
        raise self.error(f"it takes {type(item).__name__} where a tensor is expected")

    def scalar(self, item: Item) -> float | None:
        """The item as a number, if it is one that neither input nor weights decide."""
        if item is VARYING:
            raise self.error("it computes with the size of the batch", "treat each row alike")
        if isinstance(item, int | float) and not isinstance(item, bool):
            return float(item)
        if isinstance(item, ConstantTensor) and item.value.dim() == 0:
            return float(item.value)
        return None

    def dim(self, dim: Item, rank: int) -> int:
        """A dimension counted from the front."""
        if not isinstance(dim, int) or not -rank <= dim < rank:
            raise self.error(f"dimension {dim!r} is no number within {rank} dimensions")
        return dim % rank

    def require_rows(self, value: Result, remedy: str, dim: int = 0) -> None:
        """Makes sure that dimension `dim`, and no other, is the batch."""
        if BATCH in value.shape and value.shape.index(BATCH) != dim:
            raise self.error(f"it takes dimension {dim} for the batch, but that is {_shown(value.shape)}", remedy)

    def require_rank(self, value: Result, ranks: tuple[int, ...]) -> None:
        """Makes sure that the value has one of these numbers of dimensions."""
        if value.rank not in ranks:
            wanted = " or ".join(map(str, ranks))
            raise self.error(
                f"it is given {value.rank} dimensions, {_shown(value.shape)}, where a graph takes {wanted}",
                "add or remove dimensions of size 1 around it",
            )

    def named(self, suffix: str) -> "Step":
        """The same step for nodes of another name."""
        return replace(self, name=f"{self.name}_{suffix}")

    def error(self, problem: str, remedy: str = REMEDY) -> CaptureError:
        """What to raise when the operation can't be expressed."""
        return CaptureError(self.place, problem, remedy)


def _shown(shape: Shape) -> str:
    return f"({', '.join('batch' if size == BATCH else str(size) for size in shape)})"
