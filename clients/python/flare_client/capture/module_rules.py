"""Which node expresses which module of PyTorch. What a node has no field for must have PyTorch's default."""

from collections.abc import Callable
from typing import Any

from flare.ml.v1 import torch_graph_pb2 as pb
from torch import nn

from flare_client.capture import arithmetic_rules as arithmetic
from flare_client.capture import pooling_rules as pooling
from flare_client.capture import shape_rules as shapes
from flare_client.capture.items import Item, Result
from flare_client.capture.sequence_rules import (
    gru,
    lstm,
    multihead_attention,
    transformer_encoder,
    transformer_encoder_layer,
    weights_of,
)
from flare_client.capture.step import Step

Rule = Callable[..., Item]


def _linear(step: Step, module: nn.Linear, value: Item) -> Result:
    operation = pb.Linear(
        in_features=module.in_features, out_features=module.out_features, without_bias=module.bias is None
    )
    return step.emit(operation, value, weights=weights_of(step, module))


def _convolution(step: Step, module: nn.Conv1d | nn.Conv2d, value: Item) -> Result:
    result = step.result(value)
    dimensions = len(module.kernel_size)
    step.require_rank(result, (dimensions + 2,))
    step.require_rows(result, "permute before it")
    if module.padding_mode != "zeros":
        raise step.error(f"it pads with '{module.padding_mode}'", "use padding_mode='zeros'")
    operation = pb.Convolution(
        in_channels=module.in_channels,
        out_channels=module.out_channels,
        kernel_size=module.kernel_size,
        stride=module.stride,
        padding=_padding(step, module),
        dilation=module.dilation,
        groups=module.groups,
        without_bias=module.bias is None,
    )
    return step.emit(operation, result, weights=weights_of(step, module))


def _padding(step: Step, module: nn.Conv1d | nn.Conv2d) -> tuple[int, ...]:
    if not isinstance(module.padding, str):
        return module.padding
    if module.padding == "valid":
        return (0,) * len(module.kernel_size)
    totals = [(kernel - 1) * step for kernel, step in zip(module.kernel_size, module.dilation, strict=True)]
    if any(total % 2 for total in totals):
        raise step.error("padding='same' of an even window pads one side more", "use an odd kernel_size")
    return tuple(total // 2 for total in totals)


def _batch_norm(step: Step, module: nn.BatchNorm1d | nn.BatchNorm2d, value: Item) -> Result:
    result = step.result(value)
    step.require_rank(result, (2, 3, 4))
    step.require_rows(result, "permute before it")
    if not module.track_running_stats or not module.momentum or not module.eps:
        raise step.error(
            f"it has momentum={module.momentum}, eps={module.eps}, track_running_stats={module.track_running_stats}",
            "use running statistics with numbers above 0",
        )
    operation = pb.BatchNorm(
        num_features=module.num_features, eps=module.eps, momentum=module.momentum, without_affine=not module.affine
    )
    return step.emit(operation, result, weights=weights_of(step, module))


def _layer_norm(step: Step, module: nn.LayerNorm, value: Item) -> Result:
    _require_eps(step, module.eps)
    if module.elementwise_affine and module.bias is None:
        raise step.error("it has a scale without a shift", "use both or neither")
    operation = pb.LayerNorm(
        normalized_shape=module.normalized_shape, eps=module.eps, without_affine=not module.elementwise_affine
    )
    return step.emit(operation, value, weights=weights_of(step, module))


def _group_norm(step: Step, module: nn.GroupNorm, value: Item) -> Result:
    result = step.result(value)
    step.require_rows(result, "permute before it")
    _require_eps(step, module.eps)
    operation = pb.GroupNorm(
        num_groups=module.num_groups,
        num_channels=module.num_channels,
        eps=module.eps,
        without_affine=not module.affine,
    )
    return step.emit(operation, result, weights=weights_of(step, module))


def _require_eps(step: Step, eps: float) -> None:
    if not eps:
        raise step.error("its eps is 0", "use a number above 0, such as 1e-5")


def _embedding(step: Step, module: nn.Embedding, value: Item) -> Result:
    if module.padding_idx is not None or module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
        raise step.error(
            "it has a padding_idx, a max_norm, scale_grad_by_freq or sparse gradients", "use a plain nn.Embedding"
        )
    operation = pb.Embedding(num_embeddings=module.num_embeddings, embedding_dim=module.embedding_dim)
    return step.emit(operation, value, weights=weights_of(step, module))


def _activation(kind: pb.ActivationKind.ValueType, **constants: float | str) -> Rule:
    """The rule for a nonlinearity whose attributes must be the given defaults."""

    def rule(step: Step, module: nn.Module, value: Item) -> Result:
        for name, default in constants.items():
            if getattr(module, name) != default:
                raise step.error(f"its {name} is {getattr(module, name)}", f"use the default, {default}")
        return step.emit(pb.Activation(kind=kind), value)

    return rule


def _dropout(step: Step, module: nn.Dropout, value: Item) -> Result:
    return arithmetic.dropout(step, value, module.p, training=False, inplace=module.inplace)


def _max_pool(step: Step, module: nn.MaxPool1d | nn.MaxPool2d, value: Item) -> Result:
    return pooling.max_pool(
        step,
        value,
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.ceil_mode,
        module.return_indices,
    )


def _average_pool(step: Step, module: Any, value: Item) -> Result:
    divisor = getattr(module, "divisor_override", None)
    return pooling.average_pool(
        step,
        value,
        module.kernel_size,
        module.stride,
        module.padding,
        module.ceil_mode,
        module.count_include_pad,
        divisor,
    )


def _adaptive_max_pool(step: Step, module: Any, value: Item) -> Result:
    return pooling.adaptive_max_pool(step, value, module.output_size, module.return_indices)


def _adaptive_average_pool(step: Step, module: Any, value: Item) -> Result:
    return pooling.adaptive_average_pool(step, value, module.output_size)


def _reshaped(step: Step, _: nn.Module, value: Item) -> Result:
    return shapes.reshaped(step, value)


def _softmax(step: Step, module: nn.Softmax, value: Item) -> Result:
    return arithmetic.softmax(step, value, module.dim)


def _log_softmax(step: Step, _: nn.Module, value: Item) -> Result:
    return arithmetic.log_softmax(step, value)


def _identity(_: Step, __: nn.Module, value: Item) -> Item:
    return value


def _transformer_encoder(step: Step, module: nn.TransformerEncoder, value: Item, *masks: Item, **named: Item) -> Result:
    norm = module.norm
    if norm is not None and not isinstance(norm, nn.LayerNorm):
        raise step.error(f"its norm is {type(norm).__name__}", "use nn.LayerNorm")
    result = transformer_encoder(step, module, value, *masks, **named)
    return result if norm is None else _layer_norm(step.named("norm"), norm, result)


_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
    nn.LSTM: lstm,
    nn.GRU: gru,
    nn.MultiheadAttention: multihead_attention,
    nn.TransformerEncoderLayer: transformer_encoder_layer,
    nn.TransformerEncoder: _transformer_encoder,
    nn.Dropout: _dropout,
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool1d: _average_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveMaxPool1d: _adaptive_max_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.AdaptiveAvgPool1d: _adaptive_average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    nn.Flatten: _reshaped,
    nn.Unflatten: _reshaped,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _log_softmax,
    nn.Identity: _identity,
    nn.ReLU: _activation(pb.ACTIVATION_KIND_RELU),
    nn.LeakyReLU: _activation(pb.ACTIVATION_KIND_LEAKY_RELU, negative_slope=0.01),
    nn.GELU: _activation(pb.ACTIVATION_KIND_GELU, approximate="none"),
    nn.SiLU: _activation(pb.ACTIVATION_KIND_SILU),
    nn.Tanh: _activation(pb.ACTIVATION_KIND_TANH),
    nn.Sigmoid: _activation(pb.ACTIVATION_KIND_SIGMOID),
    nn.ELU: _activation(pb.ACTIVATION_KIND_ELU, alpha=1.0),
    nn.Mish: _activation(pb.ACTIVATION_KIND_MISH),
    nn.Softplus: _activation(pb.ACTIVATION_KIND_SOFTPLUS, beta=1, threshold=20),
    nn.Hardswish: _activation(pb.ACTIVATION_KIND_HARDSWISH),
}


def module_rule(module: nn.Module) -> Rule | None:
    """The rule for a module that runs the forward of one of PyTorch's; None if a graph can't express it."""
    if hasattr(module, "parametrizations"):
        return None  # its weights are computed from others
    rules = (rule for layer, rule in _RULES.items() if _runs_as(module, layer))
    return next(rules, None)


def _runs_as(module: nn.Module, layer: type[nn.Module]) -> bool:
    """True for the layer itself and for a user's subclass that leaves its forward as it is."""
    if type(module) is layer:
        return True
    is_users = not type(module).__module__.startswith("torch.nn.modules")
    return is_users and isinstance(module, layer) and type(module).forward is layer.forward
