"""One attempt at one job, from a view's files to a version's files; runs in a worker's process."""

import json
import platform
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

import numpy
import torch
import torchmetrics
from safetensors.torch import load_file

from ml_server.engines.choice import choose_engine
from ml_server.networks.frozen_blocks import freeze
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.weights import load_initial_weights
from ml_server.registry.bundle import ENGINE_FILE, REFERENCE_FILE, Bundle, weights_digest, write_bundle
from ml_server.registry.values import VersionDetails
from ml_server.training.augmentation import image_augmentation
from ml_server.training.base_version import start_from
from ml_server.training.checkpoints import Checkpoints
from ml_server.training.compilation import compiled
from ml_server.training.data_parallel import DataParallel
from ml_server.training.devices import resolve_device
from ml_server.training.drift_reference import drift_reference
from ml_server.training.events import (
    CheckpointSaved,
    EpochFinished,
    Progress,
    TestFinished,
    TrainingEvent,
    TrainingStarted,
    TrainingWarning,
    draft_of,
    event_of,
)
from ml_server.training.faults import placed
from ml_server.training.loop import train
from ml_server.training.metrics import UNKNOWN
from ml_server.training.moved_rows import on_device
from ml_server.training.objective import Objective
from ml_server.training.preparation import Prepared, prepare
from ml_server.training.state import LoopState, steps_per_epoch
from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import Finished, Told, TrainingTask

# How often steps are told to the log.
TOLD_SECONDS = 0.1
# The end of an epoch has no checkpoint if the one before is younger: what it would save is made again as quickly.
CHECKPOINT_GAP_SECONDS = 1.0
# Rows that engines are held against PyTorch with.
SAMPLE_ROWS = 256


class StopRequested(Exception):
    """The server wants this attempt to end now."""


def run(
    task: TrainingTask, stop: Stop, join: Callable[[torch.device], DataParallel] | None = None
) -> Generator[Told | Finished, None, None]:
    """Trains, and leaves the version in `task.output`.

    Once `stop` asks it ends between two steps: with the version of the best epoch so far, or by StopRequested. One that
    is to finish makes those epochs again first of which the log tells and no checkpoint. If several workers train
    together, `join` makes this one of them; only the first one saves, and finishes.

    Raises:
        LostPeer: Another one of them ended before.
    """
    device = resolve_device(task.plan.device)
    torch.use_deterministic_algorithms(task.plan.deterministic)
    prepared = prepare(task, partial(_end_if_asked, task, stop))
    torch.manual_seed(task.plan.seed)
    model = _fresh_model(task, prepared).to(device)
    objective = Objective.of(task.plan, prepared.targets, prepared.train).to(device)
    train_rows, validation_rows = on_device(prepared.train, device), on_device(prepared.validation, device)
    state = LoopState.start(model, task.plan, len(train_rows))
    parallel = join(device) if join else None
    leads = parallel is None or parallel.leads
    record = _Record(Checkpoints(task.checkpoints), state, saves=leads)
    problems = record.load()
    if parallel:
        parallel.require_equal(state.position.total_steps)
    augmentation = image_augmentation(task.plan.augmentation, model.config, prepared.features, train_rows)
    forward, slow = compiled(model, train_rows) if task.plan.compile else (None, None)
    started = TrainingStarted(
        device=str(device),
        parameter_count=model.parameter_count,
        feature_count=prepared.features.layout.features,
        train_rows=len(prepared.train),
        validation_rows=len(prepared.validation),
        test_rows=len(prepared.test),
        steps_per_epoch=steps_per_epoch(task.plan, len(prepared.train)),
        resumed_epochs=state.position.finished_epochs,
        resumed_epoch_steps=state.position.epoch_steps,
        seed=task.plan.seed,
    )
    # What a checkpoint knows and the log does not was lost with the server, between the two writes.
    untold = record.epochs_after(task.logged_epochs)
    warnings = [*problems, *([slow] if slow else []), *(augmentation.warnings if augmentation else ())]
    yield Told((started, *prepared.warnings, *map(TrainingWarning, warnings), *untold))
    told = 0.0
    loop = train(
        state,
        task.plan,
        objective,
        train_rows,
        validation_rows,
        forward,
        augmentation,
        is_wanted=parallel.is_asked if parallel else stop.is_asked,
        parallel=parallel,
    )
    for event in placed(loop, state.position):
        match event:
            case Progress():
                if time.monotonic() - told >= TOLD_SECONDS:
                    told = time.monotonic()
                    yield Told((event,))
                if record.age_seconds >= task.plan.checkpoint_seconds:
                    yield Told(record.save())
            case EpochFinished():
                record.add(event)
                # An epoch that is made again, since the last checkpoint lay before its end, was told already.
                news = (event,) if event.epoch > task.logged_epochs else ()
                gap = min(CHECKPOINT_GAP_SECONDS, task.plan.checkpoint_seconds)
                saved = record.save() if record.age_seconds >= gap else ()
                if news or saved:
                    yield Told((*news, *saved))
            case _:
                yield Told((event,))
        match parallel.asked if parallel else stop.asked:
            case StopKind.PAUSE:
                yield Told(record.save())
                raise StopRequested
            case StopKind.CANCEL:
                raise StopRequested
            case StopKind.FINISH if state.position.finished_epochs >= task.logged_epochs:
                if not state.best.epoch:  # no epoch ended yet, so there is nothing to keep
                    raise StopRequested
                break
    if leads:
        yield from _finish(task, prepared, state, objective, record.epoch(state.best.epoch), device)


def _end_if_asked(task: TrainingTask, stop: Stop) -> None:
    """Ends an attempt that has nothing yet to save or to finish with."""
    if stop.asked is not None and not (stop.asked is StopKind.FINISH and task.logged_epochs):
        raise StopRequested


class _Record:
    """What of an attempt survives it: the state of its loop, and the epochs that ended."""

    def __init__(self, checkpoints: Checkpoints, state: LoopState, *, saves: bool) -> None:
        """`saves` is False where another worker saves for this one too."""
        self._checkpoints = checkpoints
        self._saves = saves
        self._state = state
        self._saved_time = time.monotonic()
        # As a checkpoint has them: reports of many classes are large, and each is written once and not at each save.
        self._history: dict[int, str] = {}

    @property
    def age_seconds(self) -> float:
        """Since the last checkpoint, or the start."""
        return time.monotonic() - self._saved_time

    def load(self) -> list[str]:
        """Goes on from the newest checkpoint that can be read; returns what is wrong with newer ones."""
        saved, problems = self._checkpoints.load_newest()
        if saved is not None:
            self._state.load_state_dict(saved["loop"])
            for text in saved["history"]:
                self._history[_epoch(text).epoch] = text
        return problems

    def add(self, ended: EpochFinished) -> None:
        """Notes an epoch that ended."""
        self._history[ended.epoch] = json.dumps(draft_of(ended).payload)

    def epoch(self, number: int) -> EpochFinished:
        """An epoch that ended."""
        return _epoch(self._history[number])

    def epochs_after(self, number: int) -> list[EpochFinished]:
        """The epochs that ended after one."""
        return [self.epoch(each) for each in self._history if each > number]

    def save(self) -> tuple[TrainingEvent, ...]:
        """Saves the state, and returns what is to be told of it."""
        if not self._saves:
            return ()
        position = self._state.position
        place = f"epoch {position.finished_epochs + 1}, step {position.epoch_steps}"
        self._saved_time = time.monotonic()
        try:
            content = {"loop": self._state.state_dict(), "history": list(self._history.values())}
            size = self._checkpoints.save(position.finished_epochs, position.epoch_steps, content)
        except (OSError, RuntimeError) as error:  # torch tells of a full disk by its own error
            return (
                TrainingWarning(f"the checkpoint at {place} could not be written, so the one before is kept: {error}"),
            )
        return (CheckpointSaved(position.finished_epochs, size, position.epoch_steps),)


def _fresh_model(task: TrainingTask, prepared: Prepared) -> ManageableModel:
    config = ModelConfig(
        specification=task.specification, layout=prepared.features.layout, outputs=prepared.targets.outputs
    )
    model = build_model(config)
    if task.base is not None:
        start_from(model, task.provenance.base_version, task.base)
    elif task.initial_weights is not None:
        load_initial_weights(model, load_file(task.initial_weights))
    if task.plan.frozen_blocks:
        freeze(model, task.plan.frozen_blocks)
    return model


def _epoch(text: str) -> EpochFinished:
    event = event_of("epoch_finished", json.loads(text))
    assert isinstance(event, EpochFinished)
    return event


def _finish(
    task: TrainingTask,
    prepared: Prepared,
    state: LoopState,
    objective: Objective,
    best: EpochFinished,
    device: torch.device,
) -> Iterator[Told | Finished]:
    """Measures the best weights on the test rows and writes the version."""
    model = state.model
    assert isinstance(model, ManageableModel)
    model.load_state_dict(state.best.weights)
    test = on_device(prepared.test, device)
    quality = objective.evaluate(model, test).quality if len(test) else UNKNOWN
    yield Told((TestFinished(quality.metrics, state.best.epoch, quality.reports),))
    reference = drift_reference(model, prepared, device)
    model.cpu()
    task.output.parent.mkdir(parents=True, exist_ok=True)
    engine_file = task.output.with_suffix(".onnx")
    sample = next(prepared.train.batches(SAMPLE_ROWS)).features.cpu().numpy()
    engine = choose_engine(model, sample, engine_file, task.plan.engine)
    details = VersionDetails(
        training_job=task.provenance.training_job,
        view=task.provenance.view,
        view_digest=task.provenance.view_digest,
        base_version=task.provenance.base_version,
        seed=task.plan.seed,
        best_epoch=state.best.epoch,
        device=str(device),
        test_metrics=quality.metrics,
        validation_metrics=best.validation_metrics,
        test_reports=quality.reports,
        validation_reports=best.validation_reports,
        library_versions={
            "torch": torch.__version__,
            "torchmetrics": torchmetrics.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        parameter_count=model.parameter_count,
        digest=weights_digest(model),
        engine=engine,
    )
    shutil.rmtree(task.output, ignore_errors=True)  # of an attempt that ended after this write and before the next
    write_bundle(task.output, Bundle(model, prepared.features, prepared.targets, details))
    (task.output / REFERENCE_FILE).write_text(reference.model_dump_json(), encoding="utf-8")
    if engine_file.exists():
        engine_file.rename(task.output / ENGINE_FILE)
    yield Finished(details)
