"""Operations of a graph that torch has as functions, as modules. Dimensions count the batch dimension as 0."""

from functools import reduce

import torch
from torch import Tensor, nn

from ml_server.networks.kinds import ReduceKind
from servicekit.errors import InvalidArgument, Reason


class Reshape(nn.Module):
    """Gives everything after the first dimension another shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        return values.reshape(values.shape[0], *self.shape)


class Permute(nn.Module):
    """Reorders the dimensions."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, values: Tensor) -> Tensor:
        return values.permute(self.dims)


class Select(nn.Module):
    """Takes one place of a dimension."""

    def __init__(self, dim: int, index: int) -> None:
        super().__init__()
        self.dim, self.index = dim, index

    def forward(self, values: Tensor) -> Tensor:
        return values.select(self.dim, self.index)


class Narrow(nn.Module):
    """Takes a range of places of a dimension; a negative start counts from the end."""

    def __init__(self, dim: int, start: int, length: int) -> None:
        super().__init__()
        self.dim, self.start, self.length = dim, start, length

    def forward(self, values: Tensor) -> Tensor:
        start = self.start if self.start >= 0 else values.shape[self.dim] + self.start
        return values.narrow(self.dim, start, self.length)


class Unsqueeze(nn.Module):
    """Adds a dimension of size 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, values: Tensor) -> Tensor:
        return values.unsqueeze(self.dim)


class Squeeze(nn.Module):
    """Removes a dimension of size 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, values: Tensor) -> Tensor:
        return values.squeeze(self.dim)


class Reduce(nn.Module):
    """Mean, sum or maximum over dimensions."""

    def __init__(self, kind: ReduceKind, dims: tuple[int, ...], keep_dims: bool) -> None:
        super().__init__()
        self.kind, self.dims, self.keep_dims = kind, dims, keep_dims

    def forward(self, values: Tensor) -> Tensor:
        if self.kind is ReduceKind.MEAN:
            return values.mean(self.dims, self.keep_dims)
        if self.kind is ReduceKind.SUM:
            return values.sum(self.dims, self.keep_dims)
        return values.amax(self.dims, self.keep_dims)


class Add(nn.Module):
    """The sum of its inputs."""

    def forward(self, *values: Tensor) -> Tensor:
        return reduce(torch.add, values)


class Subtract(nn.Module):
    """The first input less the second."""

    def forward(self, minuend: Tensor, subtrahend: Tensor) -> Tensor:
        return minuend - subtrahend


class Multiply(nn.Module):
    """The product of its inputs."""

    def forward(self, *values: Tensor) -> Tensor:
        return reduce(torch.mul, values)


class MatMul(nn.Module):
    """The matrix product of two inputs."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right


class Concat(nn.Module):
    """Joins its inputs along a dimension; their other dimensions broadcast, as a parameter's batch dimension must."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *values: Tensor) -> Tensor:
        rank = max(value.dim() for value in values)
        dim = self.dim % rank
        full = [value.reshape((1,) * (rank - value.dim()) + tuple(value.shape)) for value in values]
        sizes = [_common_size([value.shape[place] for value in full]) for place in range(rank)]
        return torch.cat([value.expand(*sizes[:dim], value.shape[dim], *sizes[dim + 1 :]) for value in full], dim)


def _common_size(sizes: list[int]) -> int:
    return next((size for size in sizes if size != 1), 1)


class Affine(nn.Module):
    """Each element times `scale` plus `shift`."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, values: Tensor) -> Tensor:
        return values * self.scale + self.shift


class LearnedTensor(nn.Module):
    """A tensor that depends on no input; a frozen one is part of the state, and no parameter."""

    value: Tensor

    def __init__(self, shape: tuple[int, ...], initial_standard_deviation: float, frozen: bool) -> None:
        super().__init__()
        value = torch.zeros(shape)
        if initial_standard_deviation > 0:
            value.normal_(0, initial_standard_deviation)
        if frozen:
            self.register_buffer("value", value)
        else:
            self.value = nn.Parameter(value)

    def forward(self) -> Tensor:
        return self.value


class WholeNumberEmbedding(nn.Embedding):
    """A vector for each whole number, which arrives as a float and loses its fraction.

    In training a number outside of the table is an error, since the column was then encoded the wrong way. In
    evaluation it means the nearest number of the table: a request can't bring down the process that serves it.
    """

    def forward(self, values: Tensor) -> Tensor:
        numbers = values.long()
        if self.training and not numbers.is_meta and not torch.compiler.is_compiling():
            self._require_known(values, numbers)
        return super().forward(numbers.clamp(0, self.num_embeddings - 1))

    def _require_known(self, values: Tensor, numbers: Tensor) -> None:
        outside = (numbers < 0) | (numbers >= self.num_embeddings)
        if bool(outside.any()):
            raise InvalidArgument(
                Reason.VALUE_INVALID,
                f"an embedding takes whole numbers from 0 to {self.num_embeddings - 1} but was given "
                f"{float(values[outside][0]):g}: encode its columns with PASS_THROUGH, or raise num_embeddings",
            )
