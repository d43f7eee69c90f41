"""Rules for pooling, as modules and as functions."""

# ruff: noqa: ARG001  # parameters are those of PyTorch's functions, so that calls bind as they do there

from flare.ml.v1 import torch_graph_pb2 as pb

from flare_client.capture.items import BATCH, Item, Result, Shape
from flare_client.capture.step import Step


def max_pool(
    step: Step,
    value: Item,
    kernel_size: Item,
    stride: Item = None,
    padding: Item = 0,
    dilation: Item = 1,
    ceil_mode: Item = False,
    return_indices: Item = False,
) -> Result:
    """Maximum over windows."""
    if return_indices or any(size != 1 for size in _as_sizes(dilation, 1)):
        raise step.error("it returns indices or has a dilation", "use a maximum over plain windows")
    return _pooled(step, pb.POOLING_KIND_MAX, value, kernel_size, stride, padding)


def average_pool(
    step: Step,
    value: Item,
    kernel_size: Item,
    stride: Item = None,
    padding: Item = 0,
    ceil_mode: Item = False,
    count_include_pad: Item = True,
    divisor_override: Item = None,
) -> Result:
    """Mean over windows."""
    if divisor_override is not None or (not count_include_pad and any(_as_sizes(padding, 1))):
        raise step.error("its mean does not count all places of a window", "leave the padding or the option out")
    return _pooled(step, pb.POOLING_KIND_AVERAGE, value, kernel_size, stride, padding)


def adaptive_max_pool(step: Step, value: Item, output_size: Item, return_indices: Item = False) -> Result:
    """Maximum over as many windows as the output has places."""
    if return_indices:
        raise step.error("it returns indices", "take the values alone")
    return _adaptive(step, pb.POOLING_KIND_MAX, value)


def adaptive_average_pool(step: Step, value: Item, output_size: Item) -> Result:
    """Mean over as many windows as the output has places."""
    return _adaptive(step, pb.POOLING_KIND_AVERAGE, value)


def _pooled(
    step: Step, kind: pb.PoolingKind.ValueType, value: Item, kernel_size: Item, stride: Item, padding: Item
) -> Result:
    result = step.result(value)
    step.require_rank(result, (3, 4))
    step.require_rows(result, "permute before it")
    dimensions = result.rank - 2
    window = _as_sizes(kernel_size, dimensions)
    steps = _as_sizes(stride, dimensions) if stride else window
    border = _as_sizes(padding, dimensions)
    sizes = result.shape[2:]
    places = zip(sizes, window, steps, border, strict=True)
    floor = tuple((size + 2 * pad - kernel) // move + 1 for size, kernel, move, pad in places)
    if floor != step.shape[2:]:
        raise step.error("with ceil_mode it makes windows that reach over the edge", "leave ceil_mode out, or pad")
    return step.emit(pb.Pooling(kind=kind, kernel_size=window, stride=steps, padding=border), result)


def _adaptive(step: Step, kind: pb.PoolingKind.ValueType, value: Item) -> Result:
    result = step.result(value)
    step.require_rank(result, (3, 4))
    step.require_rows(result, "permute before it")
    if BATCH in step.shape[2:]:
        raise step.error("its output size depends on the batch", "give numbers")
    return step.emit(pb.AdaptivePooling(kind=kind, output_size=step.shape[2:]), result)


def _as_sizes(sizes: Item, dimensions: int) -> Shape:
    return (sizes,) * dimensions if isinstance(sizes, int) else tuple(sizes) * (dimensions if len(sizes) == 1 else 1)
