"""What each operation expects of its input's shape, so that a mismatch is told in the words of the specification."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml_server.networks import graph_specification as operations
from ml_server.networks.graph_specification import OperationValue
from ml_server.networks.kinds import PoolingKind

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unmet:
    """An expectation that does not hold. `field` is the operation's, empty if no single one is at fault."""

    field: str
    expects: str
    remedy: str
    vanishes: bool = False
    """True if the operation would leave no place in a dimension."""


def unmet_expectation(operation: OperationValue, shape: Shape) -> Unmet | None:
    """The first expectation that an input of this shape, batch dimension included, does not meet."""
    match operation:
        case operations.Linear():
            return _last(shape, "in_features", operation.in_features)
        case operations.Lstm() | operations.Gru():
            return _rank(shape, (3,), "(batch, steps, features)") or _last(shape, "input_size", operation.input_size)
        case operations.MultiheadAttention():
            return (
                _divides("num_heads", operation.num_heads, "embed_dim", operation.embed_dim)
                or _rank(shape, (3,), "(batch, steps, features)")
                or _last(shape, "embed_dim", operation.embed_dim)
            )
        case operations.TransformerEncoderLayer():
            return (
                _divides("num_heads", operation.num_heads, "d_model", operation.d_model)
                or _rank(shape, (3,), "(batch, steps, features)")
                or _last(shape, "d_model", operation.d_model)
            )
        case operations.Convolution():
            return _convolution(operation, shape)
        case operations.Pooling():
            return _pooling(operation, shape)
        case operations.AdaptivePooling():
            return _spatial_rank(shape, len(operation.output_size))
        case operations.BatchNorm():
            return _rank(shape, (2, 3, 4), "(batch, channels, ...)") or _channels(
                shape, "num_features", operation.num_features
            )
        case operations.GroupNorm():
            return _divides("num_groups", operation.num_groups, "num_channels", operation.num_channels) or (
                _rank(shape, tuple(range(2, 8)), "(batch, channels, ...)")
                or _channels(shape, "num_channels", operation.num_channels)
            )
        case operations.LayerNorm():
            return _layer_norm(operation, shape)
        case operations.Squeeze():
            return _squeeze(operation, shape)
        case _:
            return None


def _last(shape: Shape, field: str, size: int) -> Unmet | None:
    if shape and shape[-1] == size:
        return None
    given = shape[-1] if shape else 0
    return Unmet(field, f"expects {size} features in its last dimension", f"set {field} to {given}")


def _channels(shape: Shape, field: str, size: int) -> Unmet | None:
    if shape[1] == size:
        return None
    return Unmet(field, f"expects {size} channels in dimension 1", f"set {field} to {shape[1]}")


def _rank(shape: Shape, ranks: Sequence[int], form: str) -> Unmet | None:
    if len(shape) in ranks:
        return None
    return Unmet("", f"expects {form}", "reshape, flatten, permute or unsqueeze its input before")


def _spatial_rank(shape: Shape, dimensions: int) -> Unmet | None:
    form = "(batch, channels, length)" if dimensions == 1 else "(batch, channels, height, width)"
    return _rank(shape, (dimensions + 2,), form)


def _divides(divisor_field: str, divisor: int, field: str, size: int) -> Unmet | None:
    if size % divisor == 0:
        return None
    return Unmet(divisor_field, f"expects that {divisor_field} {divisor} divides {field} {size}", "change one of them")


def _convolution(operation: operations.Convolution, shape: Shape) -> Unmet | None:
    dimensions = len(operation.kernel_size)
    lists = {"stride": operation.stride, "padding": operation.padding, "dilation": operation.dilation}
    dilation = operation.dilation or (1,) * dimensions
    windows = [step * (kernel - 1) + 1 for step, kernel in zip(dilation, operation.kernel_size, strict=False)]
    return (
        _lengths(lists, dimensions)
        or _divides("groups", operation.groups, "in_channels", operation.in_channels)
        or _divides("groups", operation.groups, "out_channels", operation.out_channels)
        or _spatial_rank(shape, dimensions)
        or _channels(shape, "in_channels", operation.in_channels)
        or _fits(shape, windows, operation.padding)
    )


def _pooling(operation: operations.Pooling, shape: Shape) -> Unmet | None:
    dimensions = len(operation.kernel_size)
    unmet = _lengths({"stride": operation.stride, "padding": operation.padding}, dimensions)
    if unmet is not None:
        return unmet
    for border, kernel in zip(operation.padding, operation.kernel_size, strict=False):
        if border > kernel // 2:
            kind = "maximum" if operation.kind is PoolingKind.MAX else "mean"
            expects = f"expects for a {kind} that padding {border} is at most half of kernel_size {kernel}"
            return Unmet("padding", expects, "make padding smaller")
    return _spatial_rank(shape, dimensions) or _fits(shape, operation.kernel_size, operation.padding)


def _lengths(lists: dict[str, tuple[int, ...]], dimensions: int) -> Unmet | None:
    for field, numbers in lists.items():
        if numbers and len(numbers) != dimensions:
            expects = f"expects as many numbers in {field} ({len(numbers)}) as in kernel_size ({dimensions})"
            return Unmet(field, expects, f"give {dimensions} numbers")
    return None


def _fits(shape: Shape, windows: Sequence[int], padding: tuple[int, ...]) -> Unmet | None:
    borders = padding or (0,) * len(windows)
    for dim, (window, border) in enumerate(zip(windows, borders, strict=True), start=2):
        if shape[dim] + 2 * border < window:
            expects = f"expects at least {window} places in dimension {dim} (padding {border} included on both sides)"
            return Unmet(
                "kernel_size", expects, "make kernel_size smaller, padding larger, or pool less before it", True
            )
    return None


def _layer_norm(operation: operations.LayerNorm, shape: Shape) -> Unmet | None:
    sizes = operation.normalized_shape
    tail = shape[-len(sizes) :]
    if len(shape) > len(sizes) and tail == sizes:
        return None
    return Unmet(
        "normalized_shape", f"expects {_text(sizes)} as its last dimensions", f"set normalized_shape to {_text(tail)}"
    )


def _squeeze(operation: operations.Squeeze, shape: Shape) -> Unmet | None:
    if not -len(shape) <= operation.dim < len(shape) or shape[operation.dim] == 1:
        return None  # a dimension that is not there is reported by torch
    return Unmet("dim", f"expects size 1 in dimension {operation.dim}", "squeeze another dimension or use select")


def _text(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
