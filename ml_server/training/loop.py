"""The training loop: plain PyTorch, in sight. It yields what happened and knows no store, stream or job."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ml_server.registry.values import Metric
from ml_server.training.events import EarlyStopped, EpochFinished, Progress
from ml_server.training.objective import Objective
from ml_server.training.optimizers import build_optimizer, build_schedule
from ml_server.training.plans import TrainingPlan
from ml_server.training.rows import Rows
from servicekit.errors import InvalidArgument, Reason

# How often the loop tells where it is; between two of these, and between two steps, it can be stopped.
PROGRESS_SECONDS = 0.1


@dataclass
class LoopState:
    """All that decides how a training goes on: with it, a broken run ends with the weights of an unbroken one."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LambdaLR
    shuffle: torch.Generator
    finished_epochs: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    # The last epoch that was better by early stopping's margin, which the best epoch need not be.
    better_epoch: int = 0
    better_loss: float = math.inf

    @classmethod
    def start(cls, model: nn.Module, plan: TrainingPlan, train_rows: int) -> "LoopState":
        """The state before the first step."""
        optimizer = build_optimizer(plan, model.parameters())
        schedule = build_schedule(plan, optimizer, steps_per_epoch(plan, train_rows))
        return cls(model, optimizer, schedule, torch.Generator().manual_seed(plan.seed))

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "finished_epochs": self.finished_epochs,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "best_weights": self.best_weights,
            "better_epoch": self.better_epoch,
            "better_loss": self.better_loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state that `state_dict` gave, and torch's random state with it."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.shuffle.set_state(state["shuffle"])
        torch.set_rng_state(state["random"])
        if state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.finished_epochs = state["finished_epochs"]
        self.best_epoch = state["best_epoch"]
        self.best_loss = state["best_loss"]
        self.best_weights = state["best_weights"]
        self.better_epoch = state["better_epoch"]
        self.better_loss = state["better_loss"]


def steps_per_epoch(plan: TrainingPlan, train_rows: int) -> int:
    """Steps of an epoch; the last may have fewer rows, see `Rows.shuffled_batches`."""
    full, rest = divmod(train_rows, plan.batch_size)
    return full + (rest > 1 or not full)


def train(
    state: LoopState, plan: TrainingPlan, objective: Objective, train_rows: Rows, validation_rows: Rows
) -> Iterator[Progress | EpochFinished | EarlyStopped]:
    """Trains from where `state` is to the plan's end. `state.best_weights` are the result.

    When EpochFinished comes, `state` is that of the epoch's end and may be saved. Without validation rows whose targets
    training knows, the training loss decides which epoch is best.

    Raises:
        InvalidArgument: TRAINING_DIVERGED, naming epoch and step.
    """
    model, optimizer = state.model, state.optimizer
    steps = steps_per_epoch(plan, len(train_rows))
    while state.finished_epochs < plan.epochs and not _is_stale(state, plan):
        epoch = state.finished_epochs + 1
        model.train()
        began = told = time.monotonic()
        total = torch.zeros((), device=train_rows.features.device)
        seen = 0
        for step, batch in enumerate(train_rows.shuffled_batches(plan.batch_size, state.shuffle), 1):
            loss = objective.loss(model(batch.features), batch.targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if plan.gradient_clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), plan.gradient_clip_norm)
            optimizer.step()
            learning_rate = float(optimizer.param_groups[0]["lr"])  # before the schedule sets the next step's
            state.schedule.step()
            total += loss.detach() * len(batch)  # stays on the device: .item() here would wait on each batch
            seen += len(batch)
            now = time.monotonic()
            if now - told >= PROGRESS_SECONDS:
                told = now
                mean = _finite(total.item() / seen, epoch, step)
                yield _progress(state, plan, step, steps, mean, seen / (now - began), len(train_rows))
        train_seconds = time.monotonic() - began
        train_loss = _finite(total.item() / seen, epoch, steps)
        measured, metrics = None, tuple[Metric, ...]()
        if len(validation_rows):
            measured, metrics = objective.evaluate(model, validation_rows)
        validation_loss = train_loss if measured is None else _finite(measured, epoch, steps)
        is_best = _keep_if_best(state, plan, epoch, validation_loss)
        state.finished_epochs = epoch
        yield EpochFinished(
            epoch=epoch,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_metrics=metrics,
            learning_rate=learning_rate,
            seconds=time.monotonic() - began,
            samples_per_second=len(train_rows) / train_seconds,
            is_best=is_best,
        )
    if _is_stale(state, plan):
        yield EarlyStopped(state.finished_epochs, state.best_epoch)


def _is_stale(state: LoopState, plan: TrainingPlan) -> bool:
    """True if validation has not got better for as long as the plan allows."""
    stopping = plan.early_stopping
    return stopping is not None and state.finished_epochs - state.better_epoch >= stopping.patience


def _keep_if_best(state: LoopState, plan: TrainingPlan, epoch: int, loss: float) -> bool:
    margin = plan.early_stopping.min_delta if plan.early_stopping else 0.0
    if loss < state.better_loss - margin:
        state.better_epoch, state.better_loss = epoch, loss
    is_best = loss < state.best_loss
    if is_best:
        state.best_epoch, state.best_loss = epoch, loss
        state.best_weights = copy.deepcopy(state.model.state_dict())
    return is_best


def _progress(
    state: LoopState, plan: TrainingPlan, step: int, steps: int, loss: float, rate: float, rows: int
) -> Progress:
    left = (plan.epochs - state.finished_epochs) * rows - step * plan.batch_size
    return Progress(
        finished_epochs=state.finished_epochs,
        total_epochs=plan.epochs,
        epoch_steps=step,
        total_epoch_steps=steps,
        train_loss=loss,
        samples_per_second=rate,
        remaining_seconds=max(0.0, left / rate),
        best_epoch=state.best_epoch,
        best_validation_loss=state.best_loss if state.best_epoch else None,
    )


def _finite(loss: float, epoch: int, step: int) -> float:
    if math.isfinite(loss):
        return loss
    raise InvalidArgument(
        Reason.TRAINING_DIVERGED,
        f"the loss became {loss} by step {step} of epoch {epoch}: lower the learning rate, or set gradient_clip_norm",
        field="training_job.plan.learning_rate",
        epoch=str(epoch),
        step=str(step),
    )
