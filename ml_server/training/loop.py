"""The training loop: plain PyTorch, in sight. It yields what happened and knows no store, stream or job."""

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import torch
from torch import Tensor, nn

from ml_server.training.data_parallel import DataParallel
from ml_server.training.events import EarlyStopped, EpochFinished, LimitKind, LimitReached, Progress
from ml_server.training.objective import Measurement, Objective
from ml_server.training.plans import Precision, TrainingPlan
from ml_server.training.rows import Rows, RowSource
from ml_server.training.state import LoopState, Position, steps_per_epoch
from servicekit.errors import InvalidArgument, Reason

# How often the loop tells where it is.
PROGRESS_SECONDS = 0.1

LoopEvent = Progress | EpochFinished | EarlyStopped | LimitReached


def train(
    state: LoopState,
    plan: TrainingPlan,
    objective: Objective,
    train_rows: RowSource,
    validation_rows: RowSource,
    forward: Callable[[Tensor], Tensor] | None = None,
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    is_wanted: Callable[[], bool] = lambda: False,
    parallel: DataParallel | None = None,
) -> Iterator[LoopEvent]:
    """Trains from where `state` is to the plan's end. `state.best.weights` are the result.

    Whenever an event comes, `state` may be saved: a loop that starts from it goes on exactly as this one would.
    `forward` computes outputs in the model's place, as a compiled form of it does. `augmentation` changes the features
    of training batches. `is_wanted` is asked after steps and says that an event should come now: whoever runs the loop
    has reason to stop it. `parallel` is this worker among those that train together. Without validation rows whose
    targets training knows, the training loss decides which epoch is best.

    Raises:
        InvalidArgument: TRAINING_DIVERGED, naming epoch and step.
    """
    model, optimizer, scaler, position = state.model, state.optimizer, state.scaler, state.position
    compute = forward or model
    precision = _precision(plan, train_rows.device)
    loss_sum = _LossSum(position, train_rows.device)
    clock = _Clock(position, is_wanted, parallel.now if parallel else time.monotonic)
    total_steps = steps_per_epoch(plan, len(train_rows))
    while position.epoch_steps or not _is_over(state, plan):
        model.train()
        if not position.epoch_steps:
            state.epoch_shuffle = state.shuffle.get_state()
        for batches in _steps(state, plan, train_rows):
            if _limit(position, plan):
                break
            rows = sum(map(len, batches))
            if parallel:
                parallel.step_begins(position.total_steps)
            optimizer.zero_grad(set_to_none=True)
            losses = []
            for batch in batches:
                features = augmentation(batch.features, state.augmentation) if augmentation else batch.features
                with precision:
                    if parallel:
                        loss = parallel.loss(compute, objective, features, batch)
                    else:
                        loss = objective.loss(compute(features), batch)
                losses.append(loss)
                share = loss if len(batches) == 1 else loss * (len(batch) / rows)
                scaler.scale(share).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if parallel:
                parallel.add_up(model, losses)
            for loss, batch in zip(losses, batches, strict=True):
                loss_sum.add(loss, len(batch))
            if plan.gradient_clip_norm:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), plan.gradient_clip_norm)
            scaler.step(optimizer)
            scaler.update()
            position.step_finished(state.rate.current)
            state.rate.step_finished()
            if clock.is_due():
                clock.step_told()
                yield _progress(state, plan, total_steps, loss_sum.mean(), len(train_rows))
        clock.step_told()
        train_loss = loss_sum.mean()
        validating = _validating(state, plan, objective, validation_rows, clock, total_steps, parallel)
        measured = yield from validating
        steps = position.epoch_steps
        validation_loss = train_loss if measured.loss is None else _finite(measured.loss, position, steps)
        if parallel:
            validation_loss = parallel.agreed(validation_loss)
        clock.epoch_told()
        ended = copy.copy(position)
        is_best = _finish_epoch(state, plan, validation_loss)
        yield EpochFinished(
            epoch=position.finished_epochs,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_metrics=measured.quality.metrics,
            learning_rate=ended.learning_rate,
            seconds=ended.epoch_seconds,
            samples_per_second=ended.samples_per_second,
            is_best=is_best,
            validation_reports=measured.quality.reports,
        )
    if limit := _limit(position, plan):
        yield LimitReached(limit, position.total_steps)
    elif _is_stale(state, plan):
        yield EarlyStopped(position.finished_epochs, state.best.epoch)


def _steps(state: LoopState, plan: TrainingPlan, train_rows: RowSource) -> Iterator[tuple[Rows, ...]]:
    """The batches of each step of the epoch that is not made yet."""
    skipped = state.position.epoch_steps * plan.accumulation_steps
    batches = train_rows.shuffled_batches(plan.batch_size, state.shuffle, skipped)
    while step := tuple(islice(batches, plan.accumulation_steps)):
        yield step


def _validating(
    state: LoopState,
    plan: TrainingPlan,
    objective: Objective,
    rows: RowSource,
    clock: "_Clock",
    total_steps: int,
    parallel: DataParallel | None,
) -> Generator[Progress, None, Measurement]:
    """Measures the validation rows, and tells now and then that it is at it."""
    if not len(rows):
        return Measurement()
    position = state.position
    evaluation = objective.evaluation(state.model, rows, parallel.outputs if parallel else None)
    while True:
        try:
            next(evaluation)
        except StopIteration as ended:
            measured: Measurement = ended.value
            return measured
        if clock.is_due():
            clock.epoch_told()
            yield _progress(state, plan, total_steps, position.mean_loss, position.epoch_rows)


def _precision(plan: TrainingPlan, device: torch.device) -> AbstractContextManager[object]:
    match plan.precision:
        case Precision.FLOAT32:
            return nullcontext()
        case Precision.BFLOAT16:
            return torch.autocast(device.type, torch.bfloat16)
        case Precision.FLOAT16:
            return torch.autocast(device.type, torch.float16)


def _is_over(state: LoopState, plan: TrainingPlan) -> bool:
    all_epochs = state.position.finished_epochs >= plan.epochs
    return all_epochs or _is_stale(state, plan) or _limit(state.position, plan) is not None


def _is_stale(state: LoopState, plan: TrainingPlan) -> bool:
    """True if validation has not got better for as long as the plan allows."""
    stopping = plan.early_stopping
    return stopping is not None and state.position.finished_epochs - state.best.better_epoch >= stopping.patience


def _limit(position: Position, plan: TrainingPlan) -> LimitKind | None:
    """The limit that the training has reached before the last of its epochs."""
    if position.finished_epochs >= plan.epochs:
        return None
    if plan.max_steps and position.total_steps >= plan.max_steps:
        return LimitKind.STEPS
    if plan.max_seconds and position.seconds >= plan.max_seconds:
        return LimitKind.DURATION
    return None


def _finish_epoch(state: LoopState, plan: TrainingPlan, validation_loss: float) -> bool:
    """Moves on to the next epoch. True if the one that ended is the best so far."""
    position, best = state.position, state.best
    position.epoch_finished()
    state.rate.epoch_finished(validation_loss)
    margin = plan.early_stopping.min_delta if plan.early_stopping else 0.0
    if validation_loss < best.better_loss - margin:
        best.better_epoch, best.better_loss = position.finished_epochs, validation_loss
    is_best = validation_loss < best.loss
    if is_best:
        best.epoch, best.loss = position.finished_epochs, validation_loss
        best.weights = copy.deepcopy(state.model.state_dict())
    return is_best


def _progress(state: LoopState, plan: TrainingPlan, total_steps: int, loss: float, rows: int) -> Progress:
    position = state.position
    rate = position.samples_per_second
    left = (plan.epochs - position.finished_epochs) * rows - position.epoch_rows
    return Progress(
        finished_epochs=position.finished_epochs,
        total_epochs=plan.epochs,
        epoch_steps=position.epoch_steps,
        total_epoch_steps=total_steps,
        train_loss=loss,
        samples_per_second=rate,
        remaining_seconds=max(0.0, left / rate),
        best_epoch=state.best.epoch,
        best_validation_loss=state.best.loss if state.best.epoch else None,
    )


class _LossSum:
    """Adds up the losses of an epoch's rows.

    On a CPU each is looked at as it comes, so that the first bad step is named; on other devices only now and then,
    since each look would wait for the device.
    """

    def __init__(self, position: Position, device: torch.device) -> None:
        self._position = position
        self._pending = None if device.type == "cpu" else torch.zeros((), device=device)

    def add(self, loss: Tensor, rows: int) -> None:
        """Takes the mean loss of some rows."""
        if self._pending is None:
            self._position.epoch_loss += _finite(loss.item(), self._position, self._position.epoch_steps + 1) * rows
        else:
            self._pending.add_(loss.detach(), alpha=rows)
        self._position.epoch_rows += rows

    def mean(self) -> float:
        """The mean over the epoch so far."""
        if self._pending is not None:
            self._position.epoch_loss += self._pending.item()
            self._pending.zero_()
        return _finite(self._position.mean_loss, self._position, self._position.epoch_steps)


class _Clock:
    """Says when to tell, and notes the time that has passed."""

    def __init__(self, position: Position, is_wanted: Callable[[], bool], now: Callable[[], float]) -> None:
        """`now` says seconds since some time."""
        self._position = position
        self._is_wanted = is_wanted
        self._now = now
        self._noted = now()
        self._told = -math.inf  # so that the first step is told at once

    def is_due(self) -> bool:
        """True if nothing was told for PROGRESS_SECONDS, or somebody waits for it."""
        return self._now() - self._told >= PROGRESS_SECONDS or self._is_wanted()

    def step_told(self) -> None:
        """The time since the last note went into steps."""
        self._position.step_seconds += self._note()

    def epoch_told(self) -> None:
        """The time since the last note went into something else of the epoch."""
        self._note()

    def _note(self) -> float:
        now = self._now()
        passed, self._noted, self._told = now - self._noted, now, now
        self._position.seconds += passed
        self._position.epoch_seconds += passed
        return passed


def _finite(loss: float, position: Position, step: int) -> float:
    if math.isfinite(loss):
        return loss
    epoch = position.finished_epochs + 1
    raise InvalidArgument(
        Reason.TRAINING_DIVERGED,
        f"the loss became {loss} by step {step} of epoch {epoch}: lower the learning rate, or set gradient_clip_norm",
        field="training_job.plan.learning_rate",
        epoch=str(epoch),
        step=str(step),
    )
