"""Runs a traced module for two sizes of batch, to know the shape of each value and what decides it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from flare_client.capture.errors import CaptureError
from flare_client.capture.items import BATCH, VARYING, ConstantTensor, Item, Shape
from flare_client.capture.sample_run import BATCH_SIZES, Origin, SampleRun, origin_of
from flare_client.capture.tracing import Wrapper, place_of


@dataclass
class Observations:
    """For each traced node its values in the two runs, and its origin."""

    values: dict[fx.Node, tuple[Any, Any]] = field(default_factory=dict)
    origins: dict[fx.Node, Origin] = field(default_factory=dict)
    overwrites: dict[fx.Node, list[fx.Node]] = field(default_factory=dict)
    """The arguments that a node changes in place."""

    def shape(self, node: fx.Node) -> Shape | None:
        """The shape of a tensor, with BATCH for the batch dimension; None if it is no tensor.

        Raises:
            CaptureError: The result mixes the rows of a batch.
        """
        first, second = self.values[node]
        if not isinstance(first, Tensor):
            return None
        shape = _merged(first.shape, second.shape)
        batches = 0 if shape is None else shape.count(BATCH)
        if shape is None or (self.origins[node] is Origin.INPUT and batches != 1):
            raise CaptureError(
                place_of(node),
                f"its result has shape {tuple(first.shape)} for a batch of {BATCH_SIZES[0]} and {tuple(second.shape)} "
                f"for a batch of {BATCH_SIZES[1]}, so it joins or mixes the rows of a batch",
                "keep the batch as a dimension of its own; linear layers take more dimensions as they are",
            )
        return shape

    def is_tensor(self, node: fx.Node) -> bool:
        """True if the value is a tensor or holds some."""
        return _has_tensor(self.values[node][0])

    def part_shapes(self, node: fx.Node) -> tuple[Shape, ...]:
        """The shapes of a value that is a sequence of tensors, such as that of `chunk`; else nothing."""
        first, second = self.values[node]
        if not isinstance(first, tuple | list) or not all(isinstance(part, Tensor) for part in first):
            return ()
        shapes = [_merged(one.shape, other.shape) for one, other in zip(first, second, strict=True)]
        return tuple(shape for shape in shapes if shape is not None)

    def plain(self, node: fx.Node) -> Item:
        """The value of a node that is no tensor, or a constant one."""
        return _plain(*self.values[node], place_of(node))

    def shares_memory(self, node: fx.Node) -> list[fx.Node]:
        """The nodes whose tensors are views of the same memory as the node's."""
        memory = _memory(self.values[node][0])
        return [other for other, (value, _) in self.values.items() if memory is not None and _memory(value) == memory]


def observe(root: Wrapper, graph: fx.Graph, input_shape: Shape) -> Observations:
    """Runs the graph for both sizes of batch.

    Raises:
        CaptureError: The module fails on inputs of this shape; says where.
    """
    first, second = (SampleRun(root, graph, batch, input_shape) for batch in BATCH_SIZES)
    for run in (first, second):
        _run(run)
    observations = Observations(overwrites=first.overwrites)
    for node in graph.nodes:
        observations.values[node] = (first.env[node], second.env[node])
        observations.origins[node] = origin_of(node, root, observations.origins.__getitem__)
    return observations


def _run(run: SampleRun) -> None:
    try:
        run.run_all()
    except Exception as error:  # the user's module may fail in any way
        node = next(node for node in run.graph.nodes if node not in run.env)
        given = [tuple(run.env[source].shape) for source in node.all_input_nodes if isinstance(run.env[source], Tensor)]
        raise CaptureError(
            place_of(node),
            f"it fails on inputs of shapes {given}: {str(error).splitlines()[0] if str(error) else error!r}",
            "check input_shape, which is the shape of one row without the batch dimension",
        ) from error


def _merged(first: torch.Size, second: torch.Size) -> Shape | None:
    """The common shape; None if a dimension differs by something else than the size of the batch."""
    if len(first) != len(second):
        return None
    sizes = []
    for one, other in zip(first, second, strict=True):
        if one == other:
            sizes.append(one)
        elif (one, other) == BATCH_SIZES:
            sizes.append(BATCH)
        else:
            return None
    return tuple(sizes)


def _has_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_has_tensor(item) for item in value)
    return isinstance(value, Tensor)


def _plain(first: Any, second: Any, place: str) -> Item:
    if isinstance(first, Tensor):
        return _constant(first, second, place)
    if type(first) in (tuple, list, torch.Size):
        return tuple(_plain(one, other, place) for one, other in zip(first, second, strict=True))
    return first if first == second else VARYING


def _constant(first: Tensor, second: Tensor, place: str) -> ConstantTensor:
    shape = _merged(first.shape, second.shape)
    if shape is not None:
        for dim, size in enumerate(shape):
            if size == BATCH:
                first, second = first.narrow(dim, 0, 1), second.narrow(dim, 0, 1)
        if torch.equal(first, second):
            return ConstantTensor(first, shape)
    remedy = "make it of sizes that are known when the module is made"
    raise CaptureError(place, "it makes a constant that depends on the size of the batch", remedy)


def _memory(value: Any) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) and value.numel() else None
