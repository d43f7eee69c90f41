"""Which rule expresses which function of PyTorch, operator of Python or method of a tensor."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from flare.ml.v1 import torch_graph_pb2 as pb

from flare_client.capture import arithmetic_rules as arithmetic
from flare_client.capture import pooling_rules as pooling
from flare_client.capture import shape_rules as shapes
from flare_client.capture.items import Item
from flare_client.capture.step import Step

Rule = Callable[..., Item]

_ACTIVATIONS: dict[str, Rule] = {
    "relu": arithmetic.activation(pb.ACTIVATION_KIND_RELU),
    "leaky_relu": arithmetic.activation(pb.ACTIVATION_KIND_LEAKY_RELU, negative_slope=0.01),
    "gelu": arithmetic.activation(pb.ACTIVATION_KIND_GELU, approximate="none"),
    "silu": arithmetic.activation(pb.ACTIVATION_KIND_SILU),
    "tanh": arithmetic.activation(pb.ACTIVATION_KIND_TANH),
    "sigmoid": arithmetic.activation(pb.ACTIVATION_KIND_SIGMOID),
    "elu": arithmetic.activation(pb.ACTIVATION_KIND_ELU, alpha=1.0),
    "mish": arithmetic.activation(pb.ACTIVATION_KIND_MISH),
    "softplus": arithmetic.activation(pb.ACTIVATION_KIND_SOFTPLUS, beta=1, threshold=20),
    "hardswish": arithmetic.activation(pb.ACTIVATION_KIND_HARDSWISH),
}

_BY_NAME: dict[str, Rule] = {
    **_ACTIVATIONS,
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "subtract": arithmetic.subtract,
    "rsub": arithmetic.reverse_subtract,
    "mul": arithmetic.multiply,
    "multiply": arithmetic.multiply,
    "div": arithmetic.divide,
    "divide": arithmetic.divide,
    "true_divide": arithmetic.divide,
    "neg": arithmetic.negative,
    "negative": arithmetic.negative,
    "pow": arithmetic.power,
    "square": arithmetic.square,
    "matmul": arithmetic.matmul,
    "bmm": arithmetic.matmul,
    "mm": arithmetic.matmul,
    "mean": arithmetic.reduction(pb.Reduce.KIND_MEAN),
    "sum": arithmetic.reduction(pb.Reduce.KIND_SUM),
    "amax": arithmetic.reduction(pb.Reduce.KIND_MAX),
    "max": arithmetic.maximum,
    "softmax": arithmetic.softmax,
    "log_softmax": arithmetic.log_softmax,
    "dropout": arithmetic.dropout,
    "linear": arithmetic.linear,
    "layer_norm": arithmetic.layer_norm,
    "scaled_dot_product_attention": arithmetic.attention,
    "view": shapes.reshaped,
    "view_as": shapes.reshaped,
    "reshape": shapes.reshaped,
    "reshape_as": shapes.reshaped,
    "flatten": shapes.reshaped,
    "unflatten": shapes.reshaped,
    "permute": shapes.permute,
    "transpose": shapes.transpose,
    "swapaxes": shapes.transpose,
    "swapdims": shapes.transpose,
    "t": shapes.transpose_matrix,
    "unsqueeze": shapes.unsqueeze,
    "squeeze": shapes.squeeze,
    "select": shapes.select,
    "narrow": shapes.narrow,
    "cat": shapes.concat,
    "concat": shapes.concat,
    "concatenate": shapes.concat,
    "stack": shapes.stack,
    "chunk": shapes.pieces,
    "split": shapes.pieces,
    "unbind": shapes.unbind,
    "expand": shapes.expand,
    "expand_as": shapes.expand,
    "broadcast_to": shapes.expand,
    "repeat": shapes.expand,
    "tile": shapes.expand,
    "detach": shapes.detached,
    "max_pool1d": pooling.max_pool,
    "max_pool2d": pooling.max_pool,
    "avg_pool1d": pooling.average_pool,
    "avg_pool2d": pooling.average_pool,
    "adaptive_max_pool1d": pooling.adaptive_max_pool,
    "adaptive_max_pool2d": pooling.adaptive_max_pool,
    "adaptive_avg_pool1d": pooling.adaptive_average_pool,
    "adaptive_avg_pool2d": pooling.adaptive_average_pool,
}

_CONVERSIONS = ("to", "float", "long", "int", "contiguous", "clone", "type", "type_as", "cpu", "cuda", "double")

_OPERATORS: dict[Any, Rule] = {
    operator.add: arithmetic.add,
    operator.iadd: arithmetic.add,
    operator.sub: arithmetic.subtract,
    operator.isub: arithmetic.subtract,
    operator.mul: arithmetic.multiply,
    operator.imul: arithmetic.multiply,
    operator.truediv: arithmetic.divide,
    operator.itruediv: arithmetic.divide,
    operator.neg: arithmetic.negative,
    operator.pow: arithmetic.power,
    operator.matmul: arithmetic.matmul,
    operator.getitem: shapes.getitem,
}


def _attribute(step: Step, value: Item, name: Item) -> Item:
    """Tensor.T, Tensor.mT, and the parts of a maximum by name."""
    if name in ("T", "mT"):
        return shapes.transpose_matrix(step, value)
    if name == "values" and isinstance(value, tuple):
        return value[0]
    raise step.error(f"it takes the attribute '{name}' of a tensor")


def _functions() -> dict[Any, Rule]:
    """The same name may be found in torch, in its functional module, and there in two forms."""
    table: dict[Any, Rule] = {**_OPERATORS, getattr: _attribute}
    for name, rule in _BY_NAME.items():
        for home in (torch, F, torch._C._nn):
            for function in (getattr(home, name, None), getattr(home, f"{name}_", None)):
                if callable(function):
                    table[function] = rule
    for name in _CONVERSIONS:
        if callable(getattr(torch, name, None)) and not isinstance(getattr(torch, name), type | torch.dtype):
            table[getattr(torch, name)] = shapes.converted
    return table


_FUNCTIONS = _functions()


def function_rule(function: Any) -> Rule | None:
    """The rule for a function; None if a graph can't express it."""
    return _FUNCTIONS.get(function)


def method_rule(name: str) -> Rule | None:
    """The rule for a method of a tensor, in place or not; None if a graph can't express it."""
    plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    return shapes.converted if plain in _CONVERSIONS else _BY_NAME.get(plain)
