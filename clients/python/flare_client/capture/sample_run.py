"""Runs a traced graph on zeros, node by node, and keeps every value."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, fx, nn

from flare_client.capture.items import Shape

BATCH_SIZES = (2, 3)
"""Two runs of different batches tell the dimension of the batch from the others."""

_METADATA = ("shape", "size", "dim", "ndim", "dtype", "device", "ndimension", "numel", "new_zeros", "new_ones")
_OF_SHAPE = (torch.zeros_like, torch.ones_like)
"""What looks at the shape and the kind of a tensor, but not at its values."""


class Origin(IntEnum):
    """What decides a value; the greatest of its arguments' origins."""

    CONSTANT = 0
    WEIGHTS = 1
    INPUT = 2


class SampleRun(fx.Interpreter):
    """A run for a batch of zeros, which also works on a graph that is still being traced."""

    def __init__(self, root: nn.Module, graph: fx.Graph, batch: int, input_shape: Shape) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        self.args_iter = iter([torch.zeros(batch, *input_shape)])
        self.overwrites: dict[fx.Node, list[fx.Node]] = {}
        """For each node the arguments that it changed in place."""

    def run_all(self) -> None:
        """Runs the nodes that are new since the last time; without gradients."""
        with torch.no_grad():
            for node in self.graph.nodes:
                if node not in self.env:
                    self.env[node] = self.run_node(node)

    def run_node(self, n: fx.Node) -> Any:
        versions = {source: _version(self.env[source]) for source in n.all_input_nodes}
        value = super().run_node(n)
        changed = [source for source, version in versions.items() if _version(self.env[source]) != version]
        if changed:
            self.overwrites[n] = changed
        return value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(self.fetch_attr(target), nn.Embedding):  # a network's input is a tensor of floats
            args = tuple(value.long() if isinstance(value, Tensor) else value for value in args)
        return super().call_module(target, args, kwargs)


def origin_of(node: fx.Node, root: nn.Module, origin: Callable[[fx.Node], Origin]) -> Origin:
    """What decides a node's value, given what decides those of earlier nodes."""
    if node.op == "placeholder":
        return Origin.INPUT
    if node.op == "get_attr":
        tensor = _attribute(root, str(node.target))
        return Origin.WEIGHTS if isinstance(tensor, nn.Parameter) and tensor.requires_grad else Origin.CONSTANT
    if _is_metadata(node):
        return Origin.CONSTANT
    own = Origin.WEIGHTS if node.op == "call_module" and _has_weights(root, str(node.target)) else Origin.CONSTANT
    return max([own, *(origin(source) for source in node.all_input_nodes)])


def _is_metadata(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _METADATA
    if node.target is getattr:
        return node.args[1] in _METADATA
    return node.target in _OF_SHAPE


def _attribute(root: nn.Module, path: str) -> Any:
    value: Any = root
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _has_weights(root: nn.Module, path: str) -> bool:
    return any(True for _ in root.get_submodule(path).parameters())


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0
