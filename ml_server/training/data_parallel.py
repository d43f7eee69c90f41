"""One training on several workers: each computes a part of every batch, and all make the same steps.

All workers hold the same network and draw the same order of rows. What else decides how the loop goes on, the time and
a stop, is the first worker's: every sum passes it on, so that all come to each decision at the same step.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed, nn

from ml_server.training.objective import Objective
from ml_server.training.rows import Rows
from ml_server.training.stop import Stop, StopKind

_STOPS = (None, *StopKind)


class LostPeer(Exception):
    """Another worker of this training has ended, or can't be reached."""


class DataParallel:
    """This worker among its peers, over the process group that torch.distributed has already."""

    def __init__(self, stop: Stop, seed: int, device: torch.device) -> None:
        """`stop` counts only at the first worker. Random numbers other than the order of rows follow from `seed`."""
        self.rank = distributed.get_rank()
        self.workers = distributed.get_world_size()
        self._stop = stop
        self._seed = seed
        self._device = device
        self._noted = time.monotonic()
        self._now = 0.0
        self._asked: StopKind | None = None

    @property
    def leads(self) -> bool:
        """True for the first worker, which tells, saves and decides."""
        return self.rank == 0

    @property
    def asked(self) -> StopKind | None:
        """What the first worker was asked by the last sum: the same at all workers."""
        return self._asked

    def is_asked(self) -> bool:
        """True once all workers are to stop."""
        return self._asked is not None

    def now(self) -> float:
        """Seconds at the first worker by the last sum: the same at all workers."""
        return self._now

    def step_begins(self, steps: int) -> None:
        """After so many steps: the next one has random numbers of this worker's own, the same after a break."""
        torch.manual_seed(((self._seed * 1_000_003 + steps) * 65_537 + self.rank) % 2**63)

    def loss(self, compute: Callable[[Tensor], Tensor], objective: Objective, features: Tensor, batch: Rows) -> Tensor:
        """The part of this worker in the loss of a batch with these features (N, F): all parts add up to that loss."""
        part = self._part(len(batch), smallest=2)  # batch normalisation can't train on a single row
        if part.start == part.stop:
            return torch.zeros((), device=self._device, requires_grad=True)
        return objective.part_loss(compute(features[part]), batch.at(part), batch)

    def add_up(self, model: nn.Module, losses: Sequence[Tensor]) -> None:
        """Adds up gradients and losses over all workers, in place."""
        learning = [each for each in model.parameters() if each.requires_grad]
        for parameter in learning:
            if parameter.grad is None:  # its part of the batch was empty
                parameter.grad = torch.zeros_like(parameter)
        gradients = [each.grad for each in learning if each.grad is not None]
        self._sum([*gradients, *(each.detach() for each in losses)])

    def outputs(self, model: nn.Module, features: Tensor, width: int) -> Tensor:
        """The outputs (N, width) of features (N, F), of which each worker computes a part. Without gradients."""
        part = self._part(len(features), smallest=1)
        outputs = features.new_zeros((len(features), width))
        if part.start < part.stop:
            outputs[part] = model(features[part])
        self._sum([outputs])
        return outputs

    def require_equal(self, steps: int) -> None:
        """Raises LostPeer if this worker goes on from another checkpoint than the first one."""
        if (first := self.agreed(steps)) != steps:
            raise LostPeer(f"worker {self.rank} goes on after {steps} steps, and the first one after {first:.0f}")

    def agreed(self, value: float) -> float:
        """The first worker's value, for all: on unlike machines the last bits of results differ."""
        shared = torch.tensor(value, dtype=torch.float64, device=self._device)
        try:
            distributed.broadcast(shared, 0)
        except RuntimeError as error:
            raise LostPeer(str(error)) from error
        return shared.item()

    def _part(self, rows: int, smallest: int) -> slice:
        """The rows of this worker, of so many: at least `smallest`, or none. The first worker has some."""
        parts = max(1, min(self.workers, rows // smallest))
        return slice(*(rows * min(each, parts) // parts for each in (self.rank, self.rank + 1)))

    def _sum(self, tensors: Sequence[Tensor]) -> None:
        """Adds up tensors over all workers, in place, in one message that has the first worker's news too."""
        noted = time.monotonic()
        news = [noted - self._noted, float(_STOPS.index(self._stop.asked))] if self.leads else [0.0, 0.0]
        self._noted = noted
        flat = torch.cat([*(each.reshape(-1) for each in tensors), torch.tensor(news, device=self._device)])
        try:
            distributed.all_reduce(flat)
        except RuntimeError as error:
            raise LostPeer(str(error)) from error
        *sums, told = torch.split(flat, [*(each.numel() for each in tensors), 2])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view_as(tensor))
        passed, asked = told.tolist()
        self._now += passed
        self._asked = _STOPS[round(asked)]
