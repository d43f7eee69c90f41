"""Writes a graph node by node, with unique ids, and collects the weights by name."""

import re
from collections.abc import Mapping, Sequence

import torch
from flare.ml.v1 import torch_graph_pb2 as pb
from google.protobuf.message import Message
from torch import Tensor

from flare_client.capture.errors import CaptureError
from flare_client.capture.items import Shape

INPUT = "input"
LONGEST_ID = 128

_OPERATIONS = {
    field.message_type.full_name: field.name
    for field in pb.GraphNode.DESCRIPTOR.oneofs_by_name["operation"].fields
    if field.message_type is not None
}


class GraphBuilder:
    """A graph that is being written."""

    def __init__(self, input_shape: Shape) -> None:
        self.graph = pb.TorchGraph(input_shape=input_shape)
        self.weights: dict[str, Tensor] = {}
        self._ids = {INPUT}
        self._owners: dict[int, str] = {}

    def add(
        self,
        name: str,
        operation: Message,
        inputs: Sequence[str],
        weights: Mapping[str, Tensor] | None = None,
        place: str = "",
        *,
        is_constant: bool = False,
    ) -> str:
        """Adds a node that is called after `name` and returns its id; `weights` go by torch's names.

        Constant weights may be those of other nodes too, since training leaves them all as they are.

        Raises:
            CaptureError: A weight belongs to another node already.
        """
        node_id = self._unique_id(name)
        node = self.graph.nodes.add(id=node_id, inputs=inputs)
        member = getattr(node, _OPERATIONS[operation.DESCRIPTOR.full_name])
        member.CopyFrom(operation)
        member.SetInParent()
        for weight, tensor in (weights or {}).items():
            if not is_constant:
                self._own(f"{node_id}.{weight}", tensor, place)
            kept = tensor.detach().to(torch.float32) if tensor.is_floating_point() else tensor.detach()
            self.weights[f"{node_id}.{weight}"] = kept.clone(memory_format=torch.contiguous_format)
        return node_id

    def finish(self, output: str) -> pb.TorchGraph:
        """The graph, without the nodes that the output does not need; forgets their weights."""
        inputs = {node.id: [reference.partition(":")[0] for reference in node.inputs] for node in self.graph.nodes}
        needed, waiting = set(), [output]
        while waiting:
            node_id = waiting.pop()
            if node_id not in needed and node_id in inputs:
                needed.add(node_id)
                waiting.extend(inputs[node_id])
        kept = [node for node in self.graph.nodes if node.id in needed]
        self.weights = {name: value for name, value in self.weights.items() if name.partition(".")[0] in needed}
        return pb.TorchGraph(input_shape=self.graph.input_shape, nodes=kept, output=output)

    def _own(self, name: str, tensor: Tensor, place: str) -> None:
        address = tensor.data_ptr()  # tied weights have the same; an empty tensor has none
        if address and address in self._owners:
            raise CaptureError(
                place,
                f"it shares weights with '{self._owners[address]}'",
                "give each place weights of its own: the nodes of a graph share none",
            )
        self._owners[address] = name

    def _unique_id(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_]", "_", name)
        base = base if re.match(r"[A-Za-z_]", base) else f"_{base}"
        base = base[: LONGEST_ID - 8]
        node_id, count = base, 1
        while node_id in self._ids:
            count += 1
            node_id = f"{base}_{count}"
        self._ids.add(node_id)
        return node_id
