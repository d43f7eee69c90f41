"""Traces a module symbolically, in a copy, so that the user's own is left as it was."""

import copy
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from torch import Tensor, fx, nn

from flare_client.capture.errors import CaptureError
from flare_client.capture.items import Shape
from flare_client.capture.sample_run import BATCH_SIZES, Origin, SampleRun, origin_of

ROOT = "module"
"""The name of the user's module inside of the traced wrapper."""

_MADE_IN_FORWARD = "_tensor_constant"
"""How torch.fx names tensors that forward makes of nothing, such as torch.arange(8)."""

_LINE = "flare_line"
"""The key of a node's metadata that holds its line of source."""

_TORCH = str(Path(torch.__file__).parent) + os.sep
_HERE = str(Path(__file__).parent) + os.sep


class Wrapper(nn.Module):
    """Calls the user's module with its first argument alone, so that the others keep their defaults."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        return self.module(x)


class ModuleTracer(fx.Tracer):
    """Stops at the modules of PyTorch, and at those that only inherit from them, and remembers source lines."""

    proxy_buffer_attributes = True  # so that `self.positions[:, : x.size(1)]` can be traced

    def __init__(self, input_shape: Shape) -> None:
        super().__init__()
        self.input_shape = input_shape
        self._runs: list[SampleRun] = []
        self._is_running = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Sequential) or type(m) is Wrapper:
            return False
        return super().is_leaf_module(m, module_qualified_name) or inherited_layer(m) is not None

    def create_node(self, *arguments: Any, **named: Any) -> fx.Node:
        node = super().create_node(*arguments, **named)
        node.meta[_LINE] = _line(sys._getframe(1))
        return node

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decides conditions on sizes that are alike for each batch, as in assertions; refuses those on data."""
        if self._origin(obj.node) is not Origin.CONSTANT:
            return super().to_bool(obj)
        answers = {bool(value) for value in self._samples(obj.node)}
        return answers.pop() if len(answers) == 1 else super().to_bool(obj)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return forward(*args, **kwargs) if self._is_running else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._is_running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def _samples(self, node: fx.Node) -> list[Any]:
        """The node's values for both sizes of batch, in evaluation mode, so that the run leaves no trace."""
        if not self._runs:
            self._runs = [SampleRun(self.root, self.graph, batch, self.input_shape) for batch in BATCH_SIZES]
        mode = self.root.training
        self.root.eval()
        self._is_running = True
        try:
            for run in self._runs:
                run.run_all()
        finally:
            self._is_running = False
            self.root.train(mode)
        return [run.env[node] for run in self._runs]

    def _origin(self, node: fx.Node) -> Origin:
        origins: dict[fx.Node, Origin] = {}
        for earlier in self.graph.nodes:
            origins[earlier] = origin_of(earlier, self.root, origins.__getitem__)
        return origins[node]


def inherited_layer(module: nn.Module) -> type[nn.Module] | None:
    """The class of PyTorch whose forward the module runs; None if it runs its own."""
    for ancestor in type(module).__mro__:
        if "forward" in vars(ancestor):
            is_torch = ancestor.__module__.startswith("torch.nn.modules") and ancestor is not nn.Module
            return ancestor if is_torch and issubclass(ancestor, nn.Module) else None
    return None


def traced(module: nn.Module, input_shape: Shape) -> tuple[Wrapper, fx.Graph]:
    """A wrapped copy of the module, on the CPU in evaluation mode, and its graph.

    Raises:
        CaptureError: It can't be copied or traced, or computes something else in training mode.
    """
    try:
        root = Wrapper(copy.deepcopy(module).to("cpu", torch.float32))
    except Exception as error:  # the user's modules may fail in any way
        remedy = "remove what can't be copied, such as weights that are computed from others"
        raise CaptureError(type(module).__name__, f"it can't be copied: {error}", remedy) from error
    _refuse_hooks(root)
    in_training = _trace(root.train(), input_shape)
    graph = _trace(root.eval(), input_shape)
    order: dict[fx.Node, int] = {}
    for node, other in zip_longest(graph.nodes, in_training.nodes):
        if node is None or other is None or not _are_alike(root, node, other, order):
            raise CaptureError(
                place_of(node or other),
                "forward does something else in training mode than in evaluation mode",
                "leave the difference to nn.Dropout and normalisation modules",
            )
        order[node] = order[other] = len(order) // 2
    return root, graph


def place_of(node: fx.Node) -> str:
    """Where a traced operation comes from: its module, or its line of source."""
    if node.op == "call_module":
        return f"module '{module_path(str(node.target))}'"
    line = node.meta.get(_LINE, "")
    owner = owner_of(node)
    within = f" in module '{owner}'" if owner else ""
    return f"{line}{within}" if line else f"operation '{node.name}'{within}"


def owner_of(node: fx.Node) -> str:
    """The path of the module whose forward runs the operation; empty for the module that is captured."""
    stack = node.meta.get("nn_module_stack") or {}
    path = ""
    for entry in stack.values():
        path = entry[0] if isinstance(entry, tuple) else str(entry)
    return module_path(path)


def module_path(target: str) -> str:
    """A path inside of the wrapper as the user knows it."""
    return target.removeprefix(ROOT).removeprefix(".")


def _trace(root: Wrapper, input_shape: Shape) -> fx.Graph:
    try:
        return ModuleTracer(input_shape).trace(root)
    except Exception as error:  # what forward does with a value that is not there yet may fail in any way
        last = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
        place = _line(last) or "the module"
        raise CaptureError(
            place,
            f"forward can't be traced: {error}",
            "let no branch depend on the values of tensors and no loop on their sizes; take sizes from the constructor",
        ) from error


def _refuse_hooks(root: Wrapper) -> None:
    for path, module in root.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            place = f"module '{module_path(path)}'"
            raise CaptureError(place, "it has forward hooks", "write what they compute into forward")


def _are_alike(root: Wrapper, node: fx.Node, other: fx.Node, order: dict[fx.Node, int]) -> bool:
    """True if both do the same with what the same earlier nodes gave."""
    if node.op != other.op or [order[a] for a in node.all_input_nodes] != [order[a] for a in other.all_input_nodes]:
        return False
    if node.op == "get_attr" and str(node.target).startswith(_MADE_IN_FORWARD):
        return torch.equal(getattr(root, str(node.target)), getattr(root, str(other.target)))
    if node.target is F.dropout and other.target is F.dropout:
        return True  # its flag is what the modes differ in
    return node.target == other.target and _arguments(node, order) == _arguments(other, order)


def _arguments(node: fx.Node, order: dict[fx.Node, int]) -> str:
    """The arguments in writing, with the nodes by their place."""
    return str(fx.map_arg((node.args, node.kwargs), lambda argument: f"%{order[argument]}"))


def _line(frame: FrameType | None) -> str:
    """The innermost line of the user's own code: `line 'x = f(x)' (net.py:12)`; empty if there is none."""
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _HERE)):
        if frame.f_code is Wrapper.forward.__code__:
            return ""
        frame = frame.f_back
    if frame is None:
        return ""
    filename, number = frame.f_code.co_filename, frame.f_lineno
    return f"line '{linecache.getline(filename, number).strip()}' ({Path(filename).name}:{number})"


def takes_one_input(module: nn.Module) -> bool:
    """True if forward can be called with a single argument."""
    parameters = inspect.signature(module.forward).parameters.values()
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) <= 1 and bool(parameters)
