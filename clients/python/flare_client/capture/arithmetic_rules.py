"""Rules for operations that compute with numbers: arithmetic, reductions, activations, products."""

# ruff: noqa: ARG001  # parameters are those of PyTorch's functions, so that calls bind as they do there

import math
from collections.abc import Callable

from flare.ml.v1 import torch_graph_pb2 as pb

from flare_client.capture.items import BATCH, ConstantTensor, Item, Result
from flare_client.capture.shape_rules import permute, transpose
from flare_client.capture.step import Step


def add(step: Step, left: Item, right: Item, *, alpha: Item = 1) -> Result:
    """Tensors, or a tensor and a number."""
    if alpha != 1:
        raise step.error(f"it multiplies what it adds by alpha={alpha}", "multiply before")
    number = step.scalar(right)
    if number is not None:
        return step.emit(pb.Affine(scale=1, shift=number), left)
    number = step.scalar(left)
    return step.emit(pb.Add(), left, right) if number is None else step.emit(pb.Affine(scale=1, shift=number), right)


def subtract(step: Step, left: Item, right: Item, *, alpha: Item = 1) -> Result:
    """Tensors, or a tensor and a number."""
    if alpha != 1:
        raise step.error(f"it multiplies what it subtracts by alpha={alpha}", "multiply before")
    number = step.scalar(right)
    if number is not None:
        return step.emit(pb.Affine(scale=1, shift=-number), left)
    number = step.scalar(left)
    if number is not None:
        return step.emit(pb.Affine(scale=-1, shift=number), right)
    return step.emit(pb.Subtract(), left, right)


def reverse_subtract(step: Step, left: Item, right: Item) -> Result:
    """torch.rsub: the second less the first."""
    return subtract(step, right, left)


def multiply(step: Step, left: Item, right: Item) -> Result:
    """Tensors, or a tensor and a number."""
    number = step.scalar(right)
    if number is not None:
        return step.emit(pb.Affine(scale=number), left)
    number = step.scalar(left)
    return step.emit(pb.Multiply(), left, right) if number is None else step.emit(pb.Affine(scale=number), right)


def divide(step: Step, left: Item, right: Item, *, rounding_mode: Item = None) -> Result:
    """By a number or a constant; a graph has no division by what it computes."""
    number = step.scalar(right)
    if rounding_mode is None and number is not None and number != 0:
        return step.emit(pb.Affine(scale=1 / number), left)
    if rounding_mode is None and isinstance(right, ConstantTensor):
        return step.emit(pb.Multiply(), left, ConstantTensor(1 / right.value, right.shape))
    raise step.error("it divides by a tensor that is computed, or rounds", "divide by numbers or buffers only")


def negative(step: Step, value: Item) -> Result:
    """Minus."""
    return step.emit(pb.Affine(scale=-1), value)


def power(step: Step, value: Item, exponent: Item) -> Result:
    """Whole powers up to 4, as products."""
    number = step.scalar(exponent)
    if number not in (1, 2, 3, 4):
        raise step.error(f"it raises to the power of {exponent!r}", "use the powers 2, 3 or 4")
    result = step.result(value)
    return result if number == 1 else step.emit(pb.Multiply(), *[result] * int(number))


def square(step: Step, value: Item) -> Result:
    """x * x."""
    return power(step, value, 2)


def matmul(step: Step, left: Item, right: Item) -> Result:
    """torch.matmul, torch.bmm and @."""
    return step.emit(pb.MatMul(), left, right)


def reduction(kind: pb.Reduce.Kind.ValueType) -> Callable[..., Result]:
    """The rule for mean, sum or maximum over dimensions."""

    def rule(step: Step, value: Item, dim: Item = None, keepdim: Item = False, *, axis: Item = None) -> Result:
        result = step.result(value)
        given = dim if axis is None else axis
        dims = range(result.rank) if given is None else [given] if isinstance(given, int) else given
        operation = pb.Reduce(kind=kind, dims=[step.dim(one, result.rank) for one in dims], keep_dims=bool(keepdim))
        return step.emit(operation, result)

    return rule


def maximum(step: Step, value: Item, dim: Item = None, keepdim: Item = False) -> tuple[Result, None]:
    """torch.max over a dimension, of whose results (values, indices) a graph has the values."""
    if not isinstance(dim, int) or not step.part_shapes:
        raise step.error("it is no maximum over one dimension", "use amax, with the dimensions")
    result = step.result(value)
    operation = pb.Reduce(kind=pb.Reduce.KIND_MAX, dims=[step.dim(dim, result.rank)], keep_dims=bool(keepdim))
    return step.emit(operation, result, shape=step.part_shapes[0]), None


def softmax(step: Step, value: Item, dim: Item = None, **_: Item) -> Result:
    """Over a dimension that is given and is not the batch."""
    result = step.result(value)
    if dim is None:
        raise step.error("softmax has no dimension", "give `dim`")
    place = step.dim(dim, result.rank)
    if result.shape[place] == BATCH:
        raise step.error("softmax mixes the rows of a batch", "give the dimension of the classes, such as dim=-1")
    return step.emit(pb.Softmax(dim=place), result)


def log_softmax(step: Step, *_: Item, **__: Item) -> Result:
    """What classifiers for NLLLoss end with."""
    raise step.error(
        "log_softmax is part of the loss, which Flare computes from logits", "return what goes into it instead"
    )


def activation(kind: pb.ActivationKind.ValueType, **defaults: float | str) -> Callable[..., Result]:
    """The rule for a nonlinearity whose constants, if it has some, must be the given defaults, in order."""

    def rule(step: Step, value: Item, *constants: Item, inplace: Item = False, **named: Item) -> Result:
        for name, constant in [*zip(defaults, constants, strict=False), *named.items()]:
            if constant != defaults.get(name):
                raise step.error(f"its {name} is {constant}", f"use the default, {defaults.get(name)}")
        return step.emit(pb.Activation(kind=kind), value)

    return rule


def dropout(
    step: Step, value: Item, p: Item = 0.5, training: Item = True, inplace: Item = False, *, train: Item = None
) -> Result:
    """torch.nn.functional.dropout, seen in evaluation mode, where `training=self.training` is false."""
    if training if train is None else train:
        raise step.error("it drops in evaluation mode too", "pass training=self.training, or use nn.Dropout")
    if inplace or not 0 <= p < 1:
        raise step.error(f"it drops in place, or with probability {p}", "use inplace=False and a probability below 1")
    return step.emit(pb.Dropout(probability=p), value) if p else step.result(value)


def linear(step: Step, value: Item, weight: Item, bias: Item = None) -> Result:
    """torch.nn.functional.linear with weights of the module's own."""
    weights = step.result(weight)
    rotated = transpose(step.named("weight"), weights, -2, -1)
    result = step.emit(pb.MatMul(), value, rotated)
    return result if bias is None else step.emit(pb.Add(), result, bias)


def layer_norm(
    step: Step, value: Item, normalized_shape: Item, weight: Item = None, bias: Item = None, eps: Item = 1e-5
) -> Result:
    """torch.nn.functional.layer_norm with weights of the module's own."""
    result = step.emit(pb.LayerNorm(normalized_shape=normalized_shape, eps=eps, without_affine=True), value)
    if weight is not None:
        result = step.emit(pb.Multiply(), result, weight)
    return result if bias is None else step.emit(pb.Add(), result, bias)


def attention(
    step: Step,
    query: Item,
    key: Item,
    value: Item,
    attn_mask: Item = None,
    dropout_p: Item = 0.0,
    is_causal: Item = False,
    scale: Item = None,
    enable_gqa: Item = False,
) -> Result:
    """torch.nn.functional.scaled_dot_product_attention, by its definition."""
    if attn_mask is not None or is_causal or enable_gqa or dropout_p:
        raise step.error("attention has a mask, grouped heads or dropout of its own", "leave them out")
    queries, keys = step.result(query), step.result(key)
    factor = 1 / math.sqrt(queries.shape[-1]) if scale is None else scale
    last = keys.rank - 1
    rotated = permute(step, keys, *range(last - 1), last, last - 1)
    scores_shape = (*queries.shape[:-1], keys.shape[-2])
    scores = step.emit(pb.MatMul(), queries, rotated, shape=scores_shape)
    scaled = step.emit(pb.Affine(scale=factor), scores, shape=scores_shape)
    return step.emit(pb.MatMul(), step.emit(pb.Softmax(dim=last), scaled, shape=scores_shape), value)
