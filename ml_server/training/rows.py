"""Rows as tensors, and the batches that a loop takes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Shuffled rows are gathered so many at a time and then cut into batches: one large gather costs far less than many
# small ones, and the copies stay small beside the data. Of wide rows, such as images, fewer.
GATHERED_ROWS = 65_536
GATHERED_FEATURES = 16_000_000


class RowSource(Protocol):
    """Rows wherever they are: in memory, see Rows, or in files, see StreamedRows."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        ...

    @property
    def width(self) -> int:
        """Features of a row."""
        ...

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """For each target, values (N,) float32 or class indices (N,) int64."""
        ...

    @property
    def weights(self) -> Tensor | None:
        """How much each row counts (N,) float32; None if all count alike."""
        ...

    def batches(self, size: int) -> Iterator["Rows"]:
        """All rows in order, `size` (at least 1) at a time."""
        ...

    def shuffled_batches(self, size: int, generator: torch.Generator, skipped: int = 0) -> Iterator["Rows"]:
        """All rows in an order drawn from `generator` (on the CPU), `size` at a time, but for the first batches.

        Equal generators give equal batches, and take up where another one stopped: `skipped` batches are not read. A
        single row that is left at the end is left out, another one each time: batch normalisation can't train on it.
        """
        ...


@dataclass(frozen=True)
class Rows:
    """Features (N, F) float32 and, for each target, values (N,) float32 or class indices (N,) int64.

    `weights` (N,) float32 say how much each row counts; None if all count alike.
    """

    features: Tensor
    targets: tuple[Tensor, ...]
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """The rows of all parts, one after the other."""
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            torch.cat([part.features for part in parts]),
            tuple(map(torch.cat, zip(*(part.targets for part in parts), strict=True))),
            torch.cat(weights) if weights else None,
        )

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.features.device

    @property
    def width(self) -> int:
        """Features of a row."""
        return self.features.shape[1]

    @property
    def size_bytes(self) -> int:
        """Bytes of all of it."""
        tensors = [self.features, *self.targets, *([] if self.weights is None else [self.weights])]
        return sum(tensor.nbytes for tensor in tensors)

    def to(self, device: torch.device) -> "Rows":
        """The same rows on a device."""
        return Rows(
            self.features.to(device),
            tuple(target.to(device) for target in self.targets),
            None if self.weights is None else self.weights.to(device),
        )

    def batches(self, size: int) -> Iterator["Rows"]:
        """As RowSource says."""
        for start in range(0, len(self), size):
            yield self.at(slice(start, start + size))

    def shuffled_batches(self, size: int, generator: torch.Generator, skipped: int = 0) -> Iterator["Rows"]:
        """As RowSource says."""
        order = torch.randperm(len(self), generator=generator).to(self.features.device)
        most = min(GATHERED_ROWS, GATHERED_FEATURES // max(self.width, 1))
        gathered = max(size, most // size * size)
        for start in range(skipped * size, len(self), gathered):
            for batch in self.at(order[start : start + gathered]).batches(size):
                if len(batch) > 1 or len(self) == 1 or size == 1:
                    yield batch

    def at(self, part: slice | Tensor) -> "Rows":
        """Some of the rows: a view of a slice, a copy of places (N,)."""
        return Rows(
            self.features[part],
            tuple(target[part] for target in self.targets),
            None if self.weights is None else self.weights[part],
        )
