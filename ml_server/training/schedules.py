"""The learning rate, step by step, as a plan asks for it."""

import math
from typing import Any

from torch.optim import Optimizer

from ml_server.training import plans
from ml_server.training.plans import TrainingPlan


class LearningRate:
    """Sets an optimizer's learning rate before each step. What it knows survives in `state_dict`."""

    def __init__(self, plan: TrainingPlan, optimizer: Optimizer, steps_per_epoch: int) -> None:
        """Sets the rate of the first step."""
        self._plan = plan
        self._optimizer = optimizer
        self._steps_per_epoch = steps_per_epoch
        steps = plan.epochs * steps_per_epoch
        self._total_steps = min(steps, plan.max_steps) if plan.max_steps else steps
        self._warmup = min(plan.warmup_steps, self._total_steps)
        self._step = 0
        # Of ReduceOnPlateauSchedule: what the rate was multiplied with so far, the lowest loss, and the epochs since.
        self._fall = 1.0
        self._lowest_loss = math.inf
        self._epochs_since = 0
        self._set()

    @property
    def current(self) -> float:
        """The rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step_finished(self) -> None:
        """A step was made with the current rate."""
        self._step += 1
        self._set()

    def epoch_finished(self, validation_loss: float) -> None:
        """An epoch ended with this loss."""
        schedule = self._plan.schedule
        if not isinstance(schedule, plans.ReduceOnPlateauSchedule):
            return
        if validation_loss < self._lowest_loss - schedule.min_delta:
            self._lowest_loss, self._epochs_since = validation_loss, 0
        else:
            self._epochs_since += 1
        if self._epochs_since >= schedule.patience:
            self._epochs_since = 0
            self._fall = max(self._fall * schedule.factor, schedule.min_learning_rate / self._plan.learning_rate)
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """How far it is, as plain values."""
        return {
            "step": self._step,
            "fall": self._fall,
            "lowest_loss": self._lowest_loss,
            "epochs_since": self._epochs_since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was."""
        self._step = state["step"]
        self._fall = state["fall"]
        self._lowest_loss = state["lowest_loss"]
        self._epochs_since = state["epochs_since"]
        self._set()

    def _set(self) -> None:
        rate = self._plan.learning_rate * self._factor()
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _factor(self) -> float:
        if self._step < self._warmup:
            return (self._step + 1) / self._warmup
        share = (self._step - self._warmup) / max(1, self._total_steps - self._warmup)
        match self._plan.schedule:
            case plans.ConstantSchedule():
                return 1.0
            case plans.StepSchedule(epochs=epochs, factor=fall):
                return float(fall ** (self._step // self._steps_per_epoch // epochs))
            case plans.CosineSchedule(final_fraction=final):
                return _between(1.0, final, share)
            case plans.OneCycleSchedule(rise_fraction=rise, start_divisor=start, end_divisor=end):
                if share < rise:
                    return _between(1 / start, 1.0, share / rise)
                return _between(1.0, 1 / start / end, (share - rise) / (1 - rise))
            case plans.ReduceOnPlateauSchedule():
                return self._fall


def _between(first: float, last: float, share: float) -> float:
    """From one value to another along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, share))) / 2
