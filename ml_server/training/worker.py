"""One attempt at one job, from a view's files to a version's files; runs in a worker's process."""

import json
import platform
import shutil
import threading
import time
from collections.abc import Generator, Iterator

import numpy
import torch
import torchmetrics
from safetensors.torch import load_file

from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.weights import load_initial_weights
from ml_server.registry.bundle import Bundle, weights_digest, write_bundle
from ml_server.registry.values import VersionDetails
from ml_server.training.checkpoints import Checkpoints
from ml_server.training.devices import resolve_device
from ml_server.training.events import (
    CheckpointSaved,
    EarlyStopped,
    EpochFinished,
    Progress,
    TestFinished,
    TrainingEvent,
    TrainingStarted,
    TrainingWarning,
    draft_of,
    event_of,
)
from ml_server.training.loop import LoopState, steps_per_epoch, train
from ml_server.training.objective import Objective
from ml_server.training.preparation import Prepared, prepare
from ml_server.training.rows import Rows
from ml_server.training.task import Finished, Told, TrainingTask

# How often steps are told to the log; the loop itself can be stopped in between.
TOLD_SECONDS = 0.25


class StopRequested(Exception):
    """The server wants this attempt to end now."""


def run(task: TrainingTask, stop: threading.Event) -> Generator[Told | Finished, None, None]:
    """Trains, and leaves the version in `task.output`. Raises StopRequested between two steps once `stop` is set."""
    device = resolve_device(task.plan.device)
    prepared = prepare(task)
    torch.manual_seed(task.plan.seed)
    model = _fresh_model(task, prepared).to(device)
    checkpoints = Checkpoints(task.checkpoints)
    train_rows, validation_rows = prepared.train.to(device), prepared.validation.to(device)
    state = LoopState.start(model, task.plan, len(train_rows))
    history: list[EpochFinished] = []
    saved, problems = checkpoints.load_newest()
    if saved is not None:
        state.load_state_dict(saved["loop"])
        history = [_epoch(text) for text in saved["history"]]
    started = TrainingStarted(
        device=str(device),
        parameter_count=model.parameter_count,
        feature_count=prepared.features.layout.features,
        train_rows=len(prepared.train),
        validation_rows=len(prepared.validation),
        test_rows=len(prepared.test),
        steps_per_epoch=steps_per_epoch(task.plan, len(prepared.train)),
        resumed_epochs=state.finished_epochs,
        seed=task.plan.seed,
    )
    # What a checkpoint knows and the log does not was lost with the server, between the two writes.
    untold = [epoch for epoch in history if epoch.epoch > task.logged_epochs]
    yield Told((started, *prepared.warnings, *map(TrainingWarning, problems), *untold))
    objective = Objective(prepared.targets)
    for event in _watched(train(state, task.plan, objective, train_rows, validation_rows), stop):
        if isinstance(event, EpochFinished):
            history.append(event)
            yield Told(_saved(checkpoints, state, history))
        else:
            yield Told((event,))
    yield from _finish(task, prepared, state, objective, history, device)


def _fresh_model(task: TrainingTask, prepared: Prepared) -> ManageableModel:
    config = ModelConfig(
        specification=task.specification, layout=prepared.features.layout, outputs=prepared.targets.outputs
    )
    model = build_model(config)
    if task.initial_weights is not None:
        load_initial_weights(model, load_file(task.initial_weights))
    return model


def _watched(
    events: Iterator[Progress | EpochFinished | EarlyStopped], stop: threading.Event
) -> Iterator[TrainingEvent]:
    """The loop's events, with progress thinned out; ends the loop when asked to stop."""
    told = 0.0
    for event in events:
        if stop.is_set():
            raise StopRequested
        if isinstance(event, Progress):
            now = time.monotonic()
            if now - told < TOLD_SECONDS:
                continue
            told = now
        yield event


def _saved(checkpoints: Checkpoints, state: LoopState, history: list[EpochFinished]) -> tuple[TrainingEvent, ...]:
    """Saves the state after an epoch, and returns what is to be told of it."""
    texts = [json.dumps(draft_of(epoch).payload) for epoch in history]
    try:
        size = checkpoints.save(state.finished_epochs, {"loop": state.state_dict(), "history": texts})
    except OSError as error:
        warning = TrainingWarning(f"the checkpoint of epoch {state.finished_epochs} could not be written: {error}")
        return (history[-1], warning)
    return (history[-1], CheckpointSaved(state.finished_epochs, size))


def _epoch(text: str) -> EpochFinished:
    event = event_of("epoch_finished", json.loads(text))
    assert isinstance(event, EpochFinished)
    return event


def _finish(
    task: TrainingTask,
    prepared: Prepared,
    state: LoopState,
    objective: Objective,
    history: list[EpochFinished],
    device: torch.device,
) -> Iterator[Told | Finished]:
    """Measures the best weights on the test rows and writes the version."""
    model = state.model
    assert isinstance(model, ManageableModel)
    model.load_state_dict(state.best_weights)
    test: Rows = prepared.test.to(device)
    metrics = objective.evaluate(model, test)[1] if len(test) else ()
    yield Told((TestFinished(metrics, state.best_epoch),))
    best = next(epoch for epoch in history if epoch.epoch == state.best_epoch)
    model.cpu()
    details = VersionDetails(
        training_job=task.provenance.training_job,
        view=task.provenance.view,
        view_digest=task.provenance.view_digest,
        seed=task.plan.seed,
        best_epoch=state.best_epoch,
        device=str(device),
        test_metrics=metrics,
        validation_metrics=best.validation_metrics,
        library_versions={
            "torch": torch.__version__,
            "torchmetrics": torchmetrics.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        parameter_count=model.parameter_count,
        digest=weights_digest(model),
    )
    shutil.rmtree(task.output, ignore_errors=True)  # of an attempt that ended after this write and before the next
    write_bundle(task.output, Bundle(model, prepared.features, prepared.targets, details))
    yield Finished(details)
