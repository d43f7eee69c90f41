"""Rules for the modules that read sequences: LSTM, GRU, attention and transformer encoders.

A graph's nodes have the batch first. What has the steps first is permuted before and after.
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from flare.ml.v1 import torch_graph_pb2 as pb
from google.protobuf.message import Message
from torch import Tensor, nn

from flare_client.capture.items import ConstantTensor, Item, Result
from flare_client.capture.shape_rules import permute
from flare_client.capture.step import Step

DEFAULT_EPS = 1e-5
_BATCH_FIRST = "set batch_first=True and give it (batch, steps, features)"


def weights_of(step: Step, module: nn.Module) -> Mapping[str, Tensor]:
    """The module's state by torch's names; the names of a node are the same."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise step.error(
                f"its weight '{name}' is frozen (requires_grad=False), but training changes all weights of a node",
                "call requires_grad_(True) on the module before capturing it",
            )
    state: dict[str, Tensor] = module.state_dict()
    return state


def lstm(step: Step, module: nn.LSTM, value: Item, hx: Item = None) -> tuple[Result, tuple[Result, Result]]:
    """outputs, (hidden, cell)."""
    if module.proj_size:
        raise step.error("it has a proj_size", "put a linear layer after it")
    operation = pb.Lstm(**_recurrent(step, module, hx))
    outputs, (hidden, cell) = _run_recurrent(step, module, operation, value, ("hidden", "cell"))
    return outputs, (hidden, cell)


def gru(step: Step, module: nn.GRU, value: Item, hx: Item = None) -> tuple[Result, Result]:
    """outputs, hidden."""
    operation = pb.Gru(**_recurrent(step, module, hx))
    outputs, (hidden,) = _run_recurrent(step, module, operation, value, ("hidden",))
    return outputs, hidden


def _recurrent(step: Step, module: nn.LSTM | nn.GRU, states: Item) -> dict[str, Any]:
    if not module.bias:
        raise step.error("it has no bias", "leave bias=True")
    for state in states if isinstance(states, tuple | list) else (states,):
        if state is not None and not (isinstance(state, ConstantTensor) and not state.value.any()):
            raise step.error("it starts from states that are not zero", "leave the initial states out")
    return {
        "input_size": module.input_size,
        "hidden_size": module.hidden_size,
        "num_layers": module.num_layers,
        "bidirectional": module.bidirectional,
        "dropout": module.dropout if module.num_layers > 1 else 0.0,
    }


def _run_recurrent(
    step: Step, module: nn.LSTM | nn.GRU, operation: Message, value: Item, states: tuple[str, ...]
) -> tuple[Result, tuple[Result, ...]]:
    given = _batch_first(step, step.result(value), module.batch_first)
    batch, steps, _ = given.shape
    directions = 2 if module.bidirectional else 1
    shape = (batch, steps, directions * module.hidden_size)
    outputs = step.emit(operation, given, shape=shape, weights=weights_of(step, module))
    state_shape = (directions * module.num_layers, batch, module.hidden_size)
    further = tuple(Result(f"{outputs.reference}:{name}", state_shape, outputs.has_batch) for name in states)
    return _as_given(step, outputs, module.batch_first), further


def multihead_attention(
    step: Step,
    module: nn.MultiheadAttention,
    query: Item,
    key: Item,
    value: Item,
    key_padding_mask: Item = None,
    need_weights: Item = True,
    attn_mask: Item = None,
    average_attn_weights: Item = True,
    is_causal: Item = False,
) -> tuple[Result, Result | None]:
    """attended values, weights."""
    _require_no_mask(step, key_padding_mask, attn_mask, is_causal)
    if not module._qkv_same_embed_dim or module.bias_k is not None or module.add_zero_attn:
        raise step.error("it has kdim, vdim, add_bias_kv or add_zero_attn", "project keys and values before it")
    if need_weights and not average_attn_weights:
        raise step.error("it returns the weights of each head", "leave average_attn_weights=True")
    results = [_batch_first(step, step.result(item), module.batch_first) for item in _distinct(query, key, value)]
    with_batch = [result for result in results if result.has_batch]
    results = [result if result.has_batch else _for_each_row(step, result, with_batch[0]) for result in results]
    operation = pb.MultiheadAttention(
        embed_dim=module.embed_dim,
        num_heads=module.num_heads,
        dropout=module.dropout,
        without_bias=module.in_proj_bias is None,
    )
    queries, keys = results[0].shape, results[min(1, len(results) - 1)].shape
    attended = step.emit(operation, *results, shape=queries, weights=weights_of(step, module))
    weights = Result(f"{attended.reference}:weights", (queries[0], queries[1], keys[1]), attended.has_batch)
    return _as_given(step, attended, module.batch_first), weights if need_weights else None


def transformer_encoder_layer(
    step: Step,
    module: nn.TransformerEncoderLayer,
    src: Item,
    src_mask: Item = None,
    src_key_padding_mask: Item = None,
    is_causal: Item = False,
) -> Result:
    """Self-attention and feed-forward."""
    _require_no_mask(step, src_mask, src_key_padding_mask, is_causal)
    given = _batch_first(step, step.result(src), module.self_attn.batch_first)
    encoded = _encoder_layer(step, module, given)
    return _as_given(step, encoded, module.self_attn.batch_first)


def transformer_encoder(
    step: Step,
    module: nn.TransformerEncoder,
    src: Item,
    mask: Item = None,
    src_key_padding_mask: Item = None,
    is_causal: Item = None,
) -> Result:
    """All layers of an encoder, without its final norm."""
    _require_no_mask(step, mask, src_key_padding_mask, is_causal)
    result = step.result(src)
    for index, layer in enumerate(module.layers):
        if type(layer) is not nn.TransformerEncoderLayer:
            raise step.error(f"its layer {index} is {type(layer).__name__}", "use nn.TransformerEncoderLayer")
        result = transformer_encoder_layer(step.named(f"layers_{index}"), layer, result)
    return result


def _encoder_layer(step: Step, module: nn.TransformerEncoderLayer, value: Result) -> Result:
    drops = {module.dropout.p, module.dropout1.p, module.dropout2.p, module.self_attn.dropout}
    if len(drops) > 1:
        raise step.error(f"it drops with different chances: {sorted(drops)}", "use one")
    if module.norm1.eps != DEFAULT_EPS or module.norm2.eps != DEFAULT_EPS or module.linear1.bias is None:
        raise step.error("it has a layer_norm_eps or no bias", "use the defaults")
    operation = pb.TransformerEncoderLayer(
        d_model=module.self_attn.embed_dim,
        num_heads=module.self_attn.num_heads,
        dim_feedforward=module.linear1.out_features,
        dropout=module.dropout.p,
        activation=_activation_kind(step, module.activation),
        norm_first=module.norm_first,
    )
    return step.emit(operation, value, shape=value.shape, weights=weights_of(step, module))


def _activation_kind(step: Step, activation: Any) -> pb.ActivationKind.ValueType:
    if activation is F.relu or type(activation) is nn.ReLU:
        return pb.ACTIVATION_KIND_RELU
    if activation is F.gelu or (type(activation) is nn.GELU and activation.approximate == "none"):
        return pb.ACTIVATION_KIND_GELU
    raise step.error("its activation is neither ReLU nor GELU", "use one of them")


def _require_no_mask(step: Step, *masks: Item) -> None:
    if any(mask is not None and mask is not False for mask in masks):
        raise step.error("it is given a mask", "leave masks out: a graph's attention sees all steps")


def _for_each_row(step: Step, value: Result, like: Result) -> Result:
    """Repeats a learned value (1, steps, features) for each row, by adding zeros that are made of the input."""
    place = step.named("rows")
    batch = like.shape[0]
    one_step = place.emit(pb.Narrow(dim=1, length=1), like, shape=(batch, 1, like.shape[2]))
    one_number = place.emit(pb.Narrow(dim=2, length=1), one_step, shape=(batch, 1, 1))
    zeros = place.emit(pb.Affine(), one_number, shape=(batch, 1, 1))
    return place.emit(pb.Add(), value, zeros, shape=(batch, *value.shape[1:]))


def _distinct(query: Item, key: Item, value: Item) -> list[Item]:
    """A node with one input takes it for all three."""
    return [query] if query is key and key is value else [query, key, value]


def _batch_first(step: Step, value: Result, is_batch_first: bool) -> Result:
    step.require_rank(value, (3,))
    step.require_rows(value, _BATCH_FIRST, dim=0 if is_batch_first else 1)
    return value if is_batch_first else permute(step.named("batch_first"), value, 1, 0, 2)


def _as_given(step: Step, value: Result, is_batch_first: bool) -> Result:
    return value if is_batch_first else permute(step.named("steps_first"), value, 1, 0, 2)
