"""What a training minimises, and how good its result is."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.training.losses import TargetLoss, target_losses
from ml_server.training.metrics import UNKNOWN, Quality, measure
from ml_server.training.plans import TrainingPlan
from ml_server.training.rows import Rows, RowSource

EVALUATION_ROWS = 8_192
# A network makes many numbers of each feature of an image, and those of all rows of a batch are in memory at once.
EVALUATION_FEATURES = 4_000_000


@dataclass(frozen=True)
class Measurement:
    """The loss over some rows, None if no row has one, and how good the outputs are."""

    loss: float | None = None
    quality: Quality = UNKNOWN


class Objective:
    """The mean over all targets of their losses, and how good outputs are."""

    def __init__(self, targets: FittedTargets, losses: Sequence[TargetLoss]) -> None:
        """`losses` are those of the targets, in their order."""
        self._targets = targets
        self._losses = tuple(losses)

    @classmethod
    def of(cls, plan: TrainingPlan, targets: FittedTargets, train: RowSource) -> "Objective":
        """The objective of a plan for these training rows. Raises InvalidArgument as `target_losses`."""
        return cls(targets, target_losses(plan, targets.targets, train.targets, train.weights))

    def to(self, device: torch.device) -> "Objective":
        """The same with its class weights on a device."""
        moved = [
            replace(loss, class_weights=None if loss.class_weights is None else loss.class_weights.to(device))
            for loss in self._losses
        ]
        return Objective(self._targets, moved)

    def loss(self, outputs: Tensor, batch: Rows) -> Tensor:
        """The loss, a scalar, of outputs (N, targets.outputs), averaged over the rows of a batch of training rows."""
        if len(self._losses) == 1:
            return self._losses[0].of_batch(outputs, batch.targets[0], batch.weights)
        losses = [
            loss.of_batch(outputs[:, part], truth, batch.weights)
            for loss, (_, part), truth in zip(self._losses, self._targets.slices, batch.targets, strict=True)
        ]
        return torch.stack(losses).mean()

    def part_loss(self, outputs: Tensor, part: Rows, whole: Rows) -> Tensor:
        """What a part of a batch adds to the loss of the whole: of outputs (n, targets.outputs) of the part."""
        losses = [
            loss.of_batch(outputs[:, columns], truth, part.weights) * loss.share(truth, all_truth, part.weights)
            for loss, (_, columns), truth, all_truth in zip(
                self._losses, self._targets.slices, part.targets, whole.targets, strict=True
            )
        ]
        return torch.stack(losses).mean()

    def evaluate(self, model: nn.Module, rows: RowSource) -> Measurement:
        """Loss and quality over all rows, at once."""
        steps = self.evaluation(model, rows)
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                measured: Measurement = ended.value
                return measured

    def evaluation(
        self, model: nn.Module, rows: RowSource, compute: Callable[[nn.Module, Tensor, int], Tensor] | None = None
    ) -> Generator[None, None, Measurement]:
        """Loss and quality over all rows, with the model in evaluation mode; its mode is put back.

        It pauses after every few thousand rows, so that its caller can tell of it, or end it. `compute` makes the
        outputs of features, so many of each row, by the model. The loss weighs rows as training does; metrics count all
        rows alike. A target has no loss if all its rows are of weight 0 or of a class that training never saw; None if
        that is so for all targets.
        """
        was_training = model.training
        model.eval()
        outputs, done = torch.empty(0), 0
        try:
            size = max(1, min(EVALUATION_ROWS, EVALUATION_FEATURES // max(rows.width, 1)))
            for batch in rows.batches(size):
                with torch.no_grad():
                    width = self._targets.outputs
                    found = compute(model, batch.features, width) if compute else model(batch.features)
                if not done:
                    outputs = found.new_empty((len(rows), *found.shape[1:]))
                outputs[done : done + len(batch)] = found
                done += len(batch)
                yield
        finally:
            model.train(was_training)
        losses = [
            loss(outputs[:, part], truth, rows.weights).item()
            for loss, (target, part), truth in zip(self._losses, self._targets.slices, rows.targets, strict=True)
            if bool(_counts(target, truth, rows.weights).any())
        ]
        loss = sum(losses) / len(losses) if losses else None
        return Measurement(loss, measure(self._targets, outputs, rows.targets))


def _counts(target: FittedTarget, truth: Tensor, weights: Tensor | None) -> Tensor:
    """Which rows have a part in the loss of a target (N,)."""
    known = torch.ones_like(truth, dtype=torch.bool) if target.task is Task.REGRESSION else truth != UNSEEN
    return known if weights is None else known & (weights > 0)
