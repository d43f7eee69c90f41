"""Rows as tensors, and the batches that a loop takes of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Shuffled rows are gathered so many at a time and then cut into batches: one large gather costs far less than many
# small ones, and the copies stay small beside the data. Of wide rows, such as images, fewer.
GATHERED_ROWS = 65_536
GATHERED_FEATURES = 16_000_000


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

    def to(self, device: torch.device) -> "Rows":
        """The same rows on a device."""
        return Rows(
            self.features.to(device),
            tuple(target.to(device) for target in self.targets),
            None if self.weights is None else self.weights.to(device),
        )

    def batches(self, size: int) -> Iterator["Rows"]:
        """All rows in order, `size` (at least 1) at a time."""
        for start in range(0, len(self), size):
            yield self._part(slice(start, start + size))

    def shuffled_batches(self, size: int, generator: torch.Generator, skipped: int = 0) -> Iterator["Rows"]:
        """All rows in an order drawn from `generator` (on the CPU), `size` at a time, but for the first batches.

        A single row that is left at the end is left out, another one each time: batch normalisation can't train on it.
        """
        order = torch.randperm(len(self), generator=generator).to(self.features.device)
        most = min(GATHERED_ROWS, GATHERED_FEATURES // max(self.features.shape[1], 1))
        gathered = max(size, most // size * size)
        for start in range(skipped * size, len(self), gathered):
            for batch in self._part(order[start : start + gathered]).batches(size):
                if len(batch) > 1 or len(self) == 1 or size == 1:
                    yield batch

    def _part(self, part: slice | Tensor) -> "Rows":
        return Rows(
            self.features[part],
            tuple(target[part] for target in self.targets),
            None if self.weights is None else self.weights[part],
        )
