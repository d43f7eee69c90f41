"""Captures a module: traces it, observes its shapes, and expresses it node by node."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flare.ml.v1 import torch_graph_pb2 as pb
from torch import Tensor, fx, nn

from flare_client.capture.errors import CaptureError
from flare_client.capture.function_rules import function_rule, method_rule
from flare_client.capture.graph_builder import INPUT, GraphBuilder
from flare_client.capture.items import BATCH, ConstantTensor, Item, Result
from flare_client.capture.module_rules import module_rule
from flare_client.capture.observation import Observations, observe
from flare_client.capture.sample_run import Origin
from flare_client.capture.step import Step
from flare_client.capture.tracing import Wrapper, module_path, owner_of, place_of, takes_one_input, traced


@dataclass(frozen=True)
class CapturedModule:
    """A module as a graph, and its weights under the names that the graph gives them (`{node id}.weight`), float32."""

    graph: pb.TorchGraph
    weights: dict[str, Tensor]


def capture(module: nn.Module, input_shape: Sequence[int]) -> CapturedModule:
    """Captures what a module computes in evaluation mode for a float input of shape (batch, *input_shape).

    The module itself stays as it is. Dropout and batch normalisation behave in training as they do in PyTorch. A result
    of shape (batch,) becomes (batch, 1).

    Raises:
        CaptureError: The module does something that a graph can't express; names the module or line, and the remedy.
    """
    if not takes_one_input(module):
        raise CaptureError(
            type(module).__name__, "its forward takes more than one input", "take one tensor, and divide it in forward"
        )
    shape = tuple(int(size) for size in input_shape)
    root, graph = traced(module, shape)
    translation = _Translation(root, graph, observe(root, graph, shape), GraphBuilder(shape))
    return translation.run()


class _Translation:
    def __init__(self, root: Wrapper, graph: fx.Graph, observations: Observations, builder: GraphBuilder) -> None:
        self.root, self.graph = root, graph
        self.observations, self.builder = observations, builder
        self.order = {node: index for index, node in enumerate(graph.nodes)}
        self.items: dict[fx.Node, Item] = {}
        self.constants: dict[ConstantTensor, Result] = {}
        self.parameters: dict[Any, Result] = {}
        self.callers: dict[int, str] = {}

    def run(self) -> CapturedModule:
        for node in self.graph.nodes:
            self._refuse_overwritten(node)
            if node.op == "output":
                graph = self.builder.finish(self._output(node))
                return CapturedModule(graph, self.builder.weights)
            self.items[node] = self._item(node)
        raise AssertionError("a traced graph ends with its output")

    def _item(self, node: fx.Node) -> Item:
        if node.op == "placeholder":
            return Result(INPUT, (BATCH, *self.builder.graph.input_shape))
        origin = self.observations.origins[node]
        if origin is Origin.CONSTANT or not self.observations.is_tensor(node):
            return self.observations.plain(node)
        step = self._step(node)
        if node.op == "get_attr":
            return self._parameter(node, step)
        rule = self._rule(node, step)
        arguments = [step.module] if step.module is not None else []
        arguments += [self._resolved(argument) for argument in node.args]
        named = {name: self._resolved(argument) for name, argument in node.kwargs.items()}
        try:
            return rule(step, *arguments, **named)
        except TypeError as error:  # Python's complaint about arguments that the rule does not have
            raise step.error(f"it is called with arguments that a graph has no place for ({error})") from error

    def _rule(self, node: fx.Node, step: Step) -> Any:
        if step.module is not None:
            rule = module_rule(step.module)
            if rule is None:
                raise step.error(f"a graph has no {type(step.module).__name__}")
            self._refuse_second_call(node, step)
            return rule
        is_method = node.op == "call_method"
        rule = method_rule(str(node.target)) if is_method else function_rule(node.target)
        if rule is None:
            raise step.error(f"a graph has no '{_target_name(node)}'")
        return rule

    def _step(self, node: fx.Node) -> Step:
        value = self.observations.values[node][0]
        module = self.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        path = module_path(str(node.target)) if module is not None else ""
        owner = owner_of(node)
        name = path or (f"{owner}_{_target_name(node)}" if owner else _target_name(node))
        return Step(
            self.builder,
            self.constants,
            place_of(node) if path or module is None else f"module {type(module).__name__}",
            name if path or module is None else type(module).__name__.lower(),
            self.observations.shape(node) or (),
            value.dtype if isinstance(value, Tensor) else None,
            self.observations.part_shapes(node),
            module,
        )

    def _parameter(self, node: fx.Node, step: Step) -> Result:
        target = str(node.target)
        if target not in self.parameters:
            path = module_path(target)
            value = self.observations.values[node][0]
            self.parameters[target] = step.learned(path, value, step.shape)
        return self.parameters[target]

    def _resolved(self, argument: Any) -> Item:
        return fx.map_arg(argument, lambda node: self.items[node])

    def _refuse_second_call(self, node: fx.Node, step: Step) -> None:
        """Each call becomes a node with weights of its own, so a second one would part what is one in the module."""
        assert step.module is not None
        if not step.module.state_dict():
            return
        if id(step.module) in self.callers:
            raise step.error("it is called twice, with the same weights", "make a module for each call")
        self.callers[id(step.module)] = str(node.target)

    def _refuse_overwritten(self, node: fx.Node) -> None:
        """A graph has no operations in place: what they overwrite must not be read again."""
        order = self.order
        for overwritten in self.observations.overwrites.get(node, ()):
            for other in self.observations.shares_memory(overwritten):
                if order[other] < order[node] and any(order[reader] > order[node] for reader in other.users):
                    raise CaptureError(
                        place_of(node),
                        "it overwrites in place what is read again later",
                        "use the operation that returns a new tensor (inplace=False)",
                    )

    def _output(self, node: fx.Node) -> str:
        value = self._resolved(node.args[0])
        remedy = "return the logits, or values, alone as (batch, outputs)"
        if not isinstance(value, Result) or value.reference == INPUT or not value.has_batch:
            raise CaptureError("the module", f"it returns {_described(value)}", remedy)
        step = Step(self.builder, self.constants, "the module's result", "output", value.shape)
        if value.is_whole or value.shape[0] != BATCH or value.rank > 2:
            raise step.error(f"it has shape {value.shape} (-1 is the batch), or whole numbers", remedy)
        if value.rank == 1:
            value = step.emit(pb.Unsqueeze(dim=1), value, shape=(BATCH, 1))
        return value.reference


def _target_name(node: fx.Node) -> str:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)
    return name.strip("_") or node.name


def _described(value: Item) -> str:
    if isinstance(value, Result):
        return "its input" if value.reference == INPUT else "what does not depend on its input"
    return f"a {type(value).__name__}" if not isinstance(value, tuple | list) else f"{len(value)} values"
