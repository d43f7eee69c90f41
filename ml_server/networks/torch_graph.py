"""A network that is a graph of PyTorch operations."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ml_server.networks.graph_layers import AttentionLayer, layer_of
from ml_server.networks.graph_specification import INPUT, GraphNode, TorchGraphSpecification
from ml_server.networks.graph_structure import check_structure, used_nodes
from ml_server.networks.manageable_model import ManageableModel, ModelConfig

_NODE_PREFIX = "node_"
"""Keeps ids such as `forward` or `train` clear of the attributes that a torch module has."""


@dataclass(frozen=True)
class _Step:
    """Runs a layer: takes results by reference, gives results by reference, and frees what nobody needs after it."""

    layer: nn.Module
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    frees: tuple[str, ...]


class TorchGraph(ManageableModel):
    """Runs, in order, the nodes that the output depends on. The other nodes have weights too, and never run."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        graph = config.specification.architecture
        assert isinstance(graph, TorchGraphSpecification)
        check_structure(graph)
        self.input_shape = graph.input_shape
        self.output = graph.output
        self.nodes = nn.ModuleDict({_NODE_PREFIX + node.id: layer_of(node.operation) for node in graph.nodes})
        used = used_nodes(graph)
        self._steps = self._plan([node for node in graph.nodes if node.id in used])

    def _plan(self, nodes: Sequence[GraphNode]) -> list[_Step]:
        last_use = {reference: index for index, node in enumerate(nodes) for reference in node.inputs}
        steps = []
        for index, node in enumerate(nodes):
            gives = (node.id, *(f"{node.id}:{name}" for name in node.operation.further_results))
            frees = tuple(reference for reference in set(node.inputs) if last_use[reference] == index)
            unused = tuple(reference for reference in gives if reference not in last_use and reference != self.output)
            layer = self.nodes[_NODE_PREFIX + node.id]
            if isinstance(layer, AttentionLayer):
                layer.gives_weights = f"{node.id}:weights" in last_use
            steps.append(_Step(layer, node.inputs, gives, frees + unused))
        return steps

    def compute(self, features: Tensor) -> Tensor:
        results: dict[str, Tensor] = {INPUT: features.reshape(-1, *self.input_shape)}
        for step in self._steps:
            result = step.layer(*[results[reference] for reference in step.takes])
            if len(step.gives) == 1:
                results[step.gives[0]] = result
            else:
                results.update(zip(step.gives, result, strict=True))
            for reference in step.frees:
                del results[reference]
        return results[self.output]

    def user_name(self, name: str) -> str:
        """`{node id}.{torch's name}`, such as `lstm.weight_ih_l0`; a parameter node's weight is `{id}.value`."""
        return name.removeprefix(f"nodes.{_NODE_PREFIX}")
