"""Rows on the device of a training: resident if they fit, else moved there batch by batch, one ahead."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ml_server.training.rows import Rows
from ml_server.training.streamed_rows import StreamedRows

# Resident rows leave the rest of a device's free memory to the network, its steps and what these leave behind.
RESIDENT_SHARE = 2


@dataclass(frozen=True)
class MovedRows:
    """Rows in the machine's memory, or in files, whose batches are on a device, in the same order as theirs.

    Each batch is on its way, from pinned memory, while the one before is worked on.
    """

    source: Rows | StreamedRows
    device: torch.device

    def __len__(self) -> int:
        return len(self.source)

    @property
    def width(self) -> int:
        """Features of a row."""
        return self.source.width

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """As those of Rows."""
        return tuple(target.to(self.device) for target in self.source.targets)

    @property
    def weights(self) -> Tensor | None:
        """As those of Rows."""
        return None if self.source.weights is None else self.source.weights.to(self.device)

    def batches(self, size: int) -> Iterator[Rows]:
        """As RowSource says."""
        return self._moved(self.source.batches(size))

    def shuffled_batches(self, size: int, generator: torch.Generator, skipped: int = 0) -> Iterator[Rows]:
        """As RowSource says."""
        return self._moved(self.source.shuffled_batches(size, generator, skipped))

    def _moved(self, batches: Iterator[Rows]) -> Iterator[Rows]:
        ahead: Rows | None = None
        for batch in batches:
            moving = Rows(
                self._begin(batch.features),
                tuple(map(self._begin, batch.targets)),
                None if batch.weights is None else self._begin(batch.weights),
            )
            if ahead is not None:
                yield ahead
            ahead = moving
        if ahead is not None:
            yield ahead

    def _begin(self, tensor: Tensor) -> Tensor:
        """A copy on its way. What waits for it on the device does so by itself."""
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device, copy=True)  # the source may overwrite it before it is used


def on_device(rows: Rows | StreamedRows, device: torch.device) -> Rows | StreamedRows | MovedRows:
    """The rows for a training on a device. A GPU has all of them if they take no more than a share of what is free."""
    if device.type != "cuda":
        return rows.to(device)
    free, _ = torch.cuda.mem_get_info(device)
    if isinstance(rows, Rows) and rows.size_bytes <= free // RESIDENT_SHARE:
        return rows.to(device)
    return MovedRows(rows, device)
