"""All that decides how a training goes on: with it, a broken run ends with the weights of an unbroken one."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ml_server.training.optimizers import build_optimizer
from ml_server.training.plans import Precision, TrainingPlan
from ml_server.training.schedules import LearningRate

# So that images do not change by the very numbers that put rows in order.
AUGMENTATION_APART = 0x5EED


@dataclass
class Position:
    """Where a training is: after so many epochs, and so many steps of the next one."""

    finished_epochs: int = 0
    epoch_steps: int = 0
    total_steps: int = 0
    # Of the epoch under way: the sum of its rows' losses, and its rows.
    epoch_loss: float = 0.0
    epoch_rows: int = 0
    learning_rate: float = 0.0
    """Of the last step."""
    # In the loop, over all attempts; in the epoch under way; and of that in its steps.
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    step_seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Over the rows of the epoch so far."""
        return self.epoch_loss / self.epoch_rows

    @property
    def samples_per_second(self) -> float:
        """Over the steps of the epoch so far."""
        return self.epoch_rows / max(self.step_seconds, 1e-9)

    def step_finished(self, learning_rate: float) -> None:
        """A step was made at this rate."""
        self.epoch_steps += 1
        self.total_steps += 1
        self.learning_rate = learning_rate

    def epoch_finished(self) -> None:
        """The next epoch begins."""
        self.finished_epochs += 1
        self.epoch_steps = self.epoch_rows = 0
        self.epoch_loss = self.epoch_seconds = self.step_seconds = 0.0


@dataclass
class Best:
    """The epoch with the lowest validation loss, and its weights."""

    epoch: int = 0
    loss: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    # The last epoch that was better by early stopping's margin, which the best epoch need not be.
    better_epoch: int = 0
    better_loss: float = math.inf


@dataclass
class LoopState:
    """A network in training with everything around it. Between two steps it may be saved."""

    model: nn.Module
    optimizer: Optimizer
    rate: LearningRate
    scaler: torch.amp.GradScaler
    shuffle: torch.Generator
    augmentation: torch.Generator
    position: Position = field(default_factory=Position)
    best: Best = field(default_factory=Best)
    # What `shuffle` was before it drew the order of the epoch under way, which is drawn again after a break.
    epoch_shuffle: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def start(cls, model: nn.Module, plan: TrainingPlan, train_rows: int) -> "LoopState":
        """The state before the first step."""
        optimizer = build_optimizer(plan, [each for each in model.parameters() if each.requires_grad])
        rate = LearningRate(plan, optimizer, steps_per_epoch(plan, train_rows))
        scaler = torch.amp.GradScaler("cuda", enabled=plan.precision is Precision.FLOAT16)
        shuffle, augmentation = (torch.Generator().manual_seed(plan.seed ^ apart) for apart in (0, AUGMENTATION_APART))
        return cls(model, optimizer, rate, scaler, shuffle, augmentation)

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values. Tensors are the state's own: save it before the next step."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "scaler": self.scaler.state_dict(),
            "shuffle": self.epoch_shuffle if self.position.epoch_steps else self.shuffle.get_state(),
            "augmentation": self.augmentation.get_state(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "position": vars(self.position),
            "best": vars(self.best),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state that `state_dict` gave, and torch's random state with it."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate.load_state_dict(state["rate"])
        self.scaler.load_state_dict(state["scaler"])
        self.shuffle.set_state(state["shuffle"])
        self.epoch_shuffle = state["shuffle"]
        if "augmentation" in state:  # a job may have paused before trainings had any
            self.augmentation.set_state(state["augmentation"])
        torch.set_rng_state(state["random"])
        if state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.position = Position(**state["position"])
        self.best = Best(**state["best"])


def batches_per_epoch(plan: TrainingPlan, train_rows: int) -> int:
    """Batches of an epoch; the last may have fewer rows, see `Rows.shuffled_batches`."""
    full, rest = divmod(train_rows, plan.batch_size)
    return full + (rest > 1 or not full)


def steps_per_epoch(plan: TrainingPlan, train_rows: int) -> int:
    """Steps of an epoch: each adds up the gradients of `plan.accumulation_steps` batches, the last maybe of fewer."""
    return -(-batches_per_epoch(plan, train_rows) // plan.accumulation_steps)
