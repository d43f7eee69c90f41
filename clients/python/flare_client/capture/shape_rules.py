"""Rules for operations that move numbers around without changing them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from flare.ml.v1 import torch_graph_pb2 as pb

from flare_client.capture.items import BATCH, VARYING, Item, Result, Shape
from flare_client.capture.step import Step


def reshaped(step: Step, value: Item, *_: Item, **__: Item) -> Result:
    """view, reshape, flatten, unflatten and their kin: the observed shapes say all that their arguments do."""
    return reshape(step, step.result(value), step.shape)


def reshape(step: Step, value: Result, shape: Shape) -> Result:
    """Gives the value another shape, row by row."""
    before, after = value.shape, shape
    if before == after:
        return value
    if value.has_batch and (before[0] != BATCH or after[0] != BATCH):
        raise step.error(
            f"it reshapes {before} to {after} (-1 is the batch), which can't be done row by row",
            "keep the batch as the first dimension; permute before; linear layers take any number of dimensions",
        )
    target = after if value.has_batch else tuple(1 if size == BATCH else size for size in after)
    if value.has_batch and len(target) > 1:
        return _reshape_rows(step, value, target)
    if value.has_batch:  # (batch, 1) to (batch,)
        column = _reshape_rows(step, value, (BATCH, 1))
        return step.emit(pb.Squeeze(dim=1), column, shape=after)
    return _reshape_whole(step, value, target).shaped(after)


def _reshape_rows(step: Step, value: Result, shape: Shape) -> Result:
    start = _flattened_from(value.shape, shape)
    if start is not None:
        end = start + len(value.shape) - len(shape)
        return step.emit(pb.Flatten(start_dim=start, end_dim=end), value, shape=shape)
    return step.emit(pb.Reshape(shape=shape[1:]), value, shape=shape)


def _flattened_from(before: Shape, after: Shape) -> int | None:
    """The first of the dimensions that were joined, if that is all that happened."""
    joined = len(before) - len(after)
    if joined <= 0:
        return None
    for start in range(1, len(after)):
        if before[:start] == after[:start] and before[start + joined + 1 :] == after[start + 1 :]:
            return start
    return None


def _reshape_whole(step: Step, value: Result, shape: Shape) -> Result:
    """Of a value without a batch: a graph's reshape keeps the first dimension, so it gets one of size 1."""
    row = step.emit(pb.Unsqueeze(dim=0), value, shape=(1, *value.graph_shape))
    if not shape:
        return row
    column = step.emit(pb.Reshape(shape=shape), row, shape=(1, *shape))
    return step.emit(pb.Squeeze(dim=0), column, shape=shape)


def permute(step: Step, value: Item, *dims: Item, **named: Item) -> Result:
    """torch.permute, by numbers or one sequence of them."""
    result = step.result(value)
    given = (named["dims"],) if "dims" in named else dims
    order = given if isinstance(given[0], int) else given[0]
    return _permuted(step, result, [step.dim(dim, result.rank) for dim in order])


def transpose(step: Step, value: Item, dim0: Item, dim1: Item) -> Result:
    """torch.transpose."""
    result = step.result(value)
    order = list(range(result.rank))
    first, second = step.dim(dim0, result.rank), step.dim(dim1, result.rank)
    order[first], order[second] = order[second], order[first]
    return _permuted(step, result, order)


def transpose_matrix(step: Step, value: Item) -> Result:
    """Tensor.t, Tensor.T and Tensor.mT."""
    return transpose(step, value, -2, -1)


def _permuted(step: Step, value: Result, order: Sequence[int]) -> Result:
    return step.emit(pb.Permute(dims=order), value, shape=tuple(value.shape[dim] for dim in order))


def unsqueeze(step: Step, value: Item, dim: Item) -> Result:
    """torch.unsqueeze."""
    result = step.result(value)
    place = step.dim(dim, result.rank + 1)
    return step.emit(pb.Unsqueeze(dim=place), result, shape=(*result.shape[:place], 1, *result.shape[place:]))


def squeeze(step: Step, value: Item, dim: Item = None) -> Result:
    """torch.squeeze: of one dimension, several or all; those that are larger than 1 stay."""
    result = step.result(value)
    dims = range(result.rank) if dim is None else [dim] if isinstance(dim, int) else dim
    for place in sorted((step.dim(dim, result.rank) for dim in dims), reverse=True):
        if result.shape[place] == 1:
            shape = (*result.shape[:place], *result.shape[place + 1 :])
            result = step.emit(pb.Squeeze(dim=place), result, shape=shape)
    return result


def select(step: Step, value: Item, dim: Item, index: Item) -> Result:
    """torch.select."""
    result = step.result(value)
    place = step.dim(dim, result.rank)
    if not isinstance(index, int):
        raise step.error("it takes a place that only the data decides")
    if result.shape[place] == BATCH:
        if result.has_batch:
            raise step.error("it takes one row of the batch", "treat each row alike")
        index = 0  # all rows are alike, and the graph holds one of them
    shape = (*result.shape[:place], *result.shape[place + 1 :])
    return step.emit(pb.Select(dim=place, index=index), result, shape=shape)


def narrow(step: Step, value: Item, dim: Item, start: Item, length: Item) -> Result:
    """torch.narrow."""
    result = step.result(value)
    place = step.dim(dim, result.rank)
    if not isinstance(start, int) or not isinstance(length, int):
        raise step.error("it takes a range that only the data decides")
    if result.shape[place] == BATCH:
        raise step.error("it takes a range of rows of the batch", "treat each row alike")
    if length < 1:
        raise step.error("it takes an empty range", "leave the operation out")
    shape = (*result.shape[:place], length, *result.shape[place + 1 :])
    return step.emit(pb.Narrow(dim=place, start=start, length=length), result, shape=shape)


def getitem(step: Step, value: Item, index: Item) -> Item:
    """`x[:, -1]`, `x[..., 2:5]`, `x[:, None]`, and the parts of tuples."""
    if isinstance(value, tuple | list):
        return value[index]
    result = step.result(value)
    indices = list(index) if isinstance(index, tuple | list) else [index]
    if Ellipsis in indices:
        place = indices.index(Ellipsis)
        taken = sum(1 for part in indices if part is not None and part is not Ellipsis)
        indices[place : place + 1] = [slice(None)] * (result.rank - taken)
    dim = 0
    for part in indices:
        if part is None:
            result, dim = unsqueeze(step, result, dim), dim + 1
        elif isinstance(part, slice):
            result, dim = _sliced(step, result, dim, part), dim + 1
        elif isinstance(part, int) and not isinstance(part, bool):
            result = select(step, result, dim, part)
        else:
            raise step.error("it takes places by a tensor, a list or a number that only the data decides")
    return result


def _sliced(step: Step, value: Result, dim: int, part: slice) -> Result:
    if part == slice(None):
        return value
    size = value.shape[dim]
    if VARYING in (part.start, part.stop) and size != BATCH:
        raise step.error("it takes a range that depends on the size of the batch", "treat each row alike")
    if size == BATCH:
        raise step.error("it takes a range of rows of the batch", "treat each row alike")
    start, stop, stride = part.indices(size)
    if stride != 1:
        raise step.error(f"it takes every {stride}th place", "take a range without a step, or reshape and select")
    return value if (start, stop) == (0, size) else narrow(step, value, dim, start, stop - start)


def concat(step: Step, tensors: Item, dim: Item = 0, *, axis: Item = None) -> Result:
    """torch.cat."""
    results = [step.result(item) for item in tensors]
    return step.emit(pb.Concat(dim=step.dim(dim if axis is None else axis, results[0].rank)), *results)


def stack(step: Step, tensors: Item, dim: Item = 0) -> Result:
    """torch.stack: a new dimension for each, joined."""
    results = [step.result(item) for item in tensors]
    place = step.dim(dim, results[0].rank + 1)
    return step.emit(pb.Concat(dim=place), *[unsqueeze(step, result, place) for result in results])


def pieces(step: Step, value: Item, *arguments: Item, dim: Item = None, **_: Item) -> tuple[Result, ...]:
    """chunk, split and tensor_split: ranges as long as the observed pieces."""
    result = step.result(value)
    given = arguments[1] if dim is None and len(arguments) > 1 else dim
    place = step.dim(0 if given is None else given, result.rank)
    if result.shape[place] == BATCH:
        raise step.error("it divides the rows of a batch", "treat each row alike")
    parts, start = [], 0
    for shape in step.part_shapes:
        parts.append(narrow(step, result, place, start, shape[place]))
        start += shape[place]
    return tuple(parts)


def unbind(step: Step, value: Item, dim: Item = 0) -> tuple[Result, ...]:
    """torch.unbind."""
    result = step.result(value)
    place = step.dim(dim, result.rank)
    return tuple(select(step, result, place, index) for index in range(len(step.part_shapes)))


def expand(step: Step, value: Item, *_: Item, **__: Item) -> Result:
    """expand, repeat and their kin: a batch dimension broadcasts by itself, others by adding zeros."""
    result = step.result(value)
    after = step.shape
    before = (1,) * (len(after) - result.rank) + result.shape
    if any(one not in (1, other) for one, other in zip(before, after, strict=True)):
        raise step.error("it repeats a dimension that is larger than 1", "join copies with torch.cat")
    while result.rank < len(after):
        result = unsqueeze(step, result, 0)
    grown = tuple(1 if size == BATCH else size for size in after)
    if all(size in (BATCH, one) for size, one in zip(after, result.shape, strict=True)):
        return result.shaped(after)
    zeros = step.constant(torch.zeros(grown), grown, f"{step.name}_zeros")
    return step.emit(pb.Add(), result, zeros, shape=after)


def converted(step: Step, value: Item, *_: Item, **__: Item) -> Result:
    """Casts, copies and moves between devices, which a graph leaves out."""
    result = step.result(value)
    if step.dtype is torch.float32 and not result.is_whole:
        return result
    if step.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        return replace(result, is_whole=True)
    raise step.error(
        f"it makes {step.dtype} of {'whole numbers' if result.is_whole else 'numbers'}", "compute in float32"
    )


def detached(step: Step, *_: Any, **__: Any) -> Result:
    """Stops gradients, which a graph can't."""
    raise step.error("it stops gradients", "take the detach out")
