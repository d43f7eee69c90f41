"""Workers that train together make the steps that one makes alone, and stop, break and go on together."""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ml_server.features.columns import ColumnType
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.registry.bundle import read_details
from ml_server.training import loop, worker
from ml_server.training.data_parallel import DataParallel, LostPeer
from ml_server.training.events import EpochFinished, LimitReached, TrainingEvent, TrainingStarted
from ml_server.training.loop import train
from ml_server.training.objective import Objective
from ml_server.training.plans import AdamW, ClassWeight, ClassWeights, Focal, Sgd, TrainingPlan
from ml_server.training.rows import Rows
from ml_server.training.state import LoopState
from ml_server.training.stop import Stop, StopKind
from ml_server.training.task import Finished, Told, TrainingTask
from ml_server.training.worker import StopRequested, run
from tests.unit.training.peers import together
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture

CPU = torch.device("cpu")
NUMBER = FittedTarget(name="y", type=ColumnType.FLOAT, task=Task.REGRESSION)
CLASS = FittedTarget(
    name="c", type=ColumnType.CATEGORICAL, task=Task.MULTICLASS_CLASSIFICATION, classes=("a", "b", "c")
)
WEIGHTS = ClassWeights(weights=(ClassWeight(target="c", class_label="b", weight=7.5),))


@dataclass(frozen=True)
class Case:
    """A plan, with targets and weights that make shares of a batch count otherwise than by their rows."""

    plan: TrainingPlan
    targets: tuple[FittedTarget, ...]
    rows: int = 100
    is_weighted: bool = False


# 103 rows in batches of 20 leave a last batch of three, in which a third worker has no part.
CASES = {
    "numbers": Case(TrainingPlan(batch_size=20), (NUMBER,), rows=103),
    "clipped": Case(TrainingPlan(batch_size=20, gradient_clip_norm=0.1, optimizer=Sgd(momentum=0.9)), (NUMBER,)),
    "classes": Case(TrainingPlan(batch_size=20, class_weights=WEIGHTS), (CLASS,), rows=103),
    "both": Case(TrainingPlan(batch_size=20, class_weights=WEIGHTS, optimizer=AdamW()), (NUMBER, CLASS)),
    "weighted": Case(TrainingPlan(batch_size=20, classification_loss=Focal()), (CLASS, NUMBER), is_weighted=True),
    "accumulated": Case(TrainingPlan(batch_size=8, accumulation_steps=3, class_weights=WEIGHTS), (CLASS,), rows=101),
}


def _rows(case: Case, rows: int) -> Rows:
    generator = torch.Generator().manual_seed(rows)
    features = torch.randn(rows, 4, generator=generator)
    values = {"y": features.sum(1), "c": (features[:, 0] > 0).long() + (features[:, 1] > 1).long()}
    weights = torch.rand(rows, generator=generator) * 3 if case.is_weighted else None
    return Rows(features, tuple(values[target.name] for target in case.targets), weights)


def _trained(case: Case, join: Callable[[], DataParallel] | None) -> tuple[list[EpochFinished], dict[str, Any]]:
    """The epochs of a training, and its last weights."""
    plan = case.plan.model_copy(update={"epochs": 4, "learning_rate": 0.01})
    targets = FittedTargets(targets=case.targets)
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, targets.outputs))
    rows, validation = _rows(case, case.rows), _rows(case, 31)
    state = LoopState.start(model, plan, len(rows))
    objective = Objective.of(plan, targets, rows)
    events = list(train(state, plan, objective, rows, validation, parallel=join() if join else None))
    return [event for event in events if isinstance(event, EpochFinished)], model.state_dict()


def _all_trained() -> dict[str, tuple[list[EpochFinished], dict[str, Any]]]:
    return {name: _trained(case, lambda: DataParallel(Stop(), 0, CPU)) for name, case in CASES.items()}


@functools.cache
def _results(workers: int, directory: Path) -> list[Any]:
    return together(directory, workers, _all_trained)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_together_make_the_steps_of_one(case: str, workers: int, directory: Path) -> None:
    epochs, weights = _trained(CASES[case], None)
    for result in _results(workers, directory):
        together_epochs, together_weights = result[case]
        for mine, theirs in zip(epochs, together_epochs, strict=True):
            assert theirs.train_loss == pytest.approx(mine.train_loss, rel=1e-5)
            assert theirs.validation_loss == pytest.approx(mine.validation_loss, rel=1e-5)
            assert [m.name for m in theirs.validation_metrics] == [m.name for m in mine.validation_metrics]
            values = [metric.value for metric in mine.validation_metrics]
            assert [metric.value for metric in theirs.validation_metrics] == pytest.approx(values, rel=1e-4)
        for name, tensor in weights.items():
            torch.testing.assert_close(together_weights[name], tensor, rtol=1e-4, atol=1e-6)


def test_all_workers_end_with_the_same_bits(directory: Path) -> None:
    first, *others = _results(3, directory)
    for other in others:
        for case in CASES:
            assert all(torch.equal(other[case][1][name], tensor) for name, tensor in first[case][1].items())


def _limited() -> tuple[int, int]:
    """Epochs and steps of a training that time ends; the last worker's own clock would end it elsewhere."""
    parallel = DataParallel(Stop(), 0, CPU)
    case = Case(TrainingPlan(batch_size=4, epochs=100_000, max_seconds=0.2), (NUMBER,))
    rows = _rows(case, 40)
    targets = FittedTargets(targets=case.targets)
    state = LoopState.start(nn.Linear(4, 1), case.plan, len(rows))
    if not parallel.leads:
        time.monotonic = lambda: 0.0  # it stands still
    *_, last = train(state, case.plan, Objective.of(case.plan, targets, rows), rows, rows, parallel=parallel)
    assert isinstance(last, LimitReached)
    return state.position.finished_epochs, state.position.total_steps


def test_a_limit_of_time_ends_all_workers_at_the_same_step(directory: Path) -> None:
    first, second = together(directory, 2, _limited)
    assert first == second


# What an attempt of several workers says: those of the first worker, and what each ended with.
def _attempt(task: TrainingTask, asked: StopKind | None, after_epoch: int) -> tuple[list[TrainingEvent], Any]:
    worker.CHECKPOINT_GAP_SECONDS = 0.0
    loop.PROGRESS_SECONDS = 0.0
    stop, events = Stop(), list[TrainingEvent]()
    last: Any = None
    try:
        for message in run(task, stop, partial(DataParallel, stop, task.plan.seed)):
            if isinstance(message, Told):
                events += message.events
                if asked and any(isinstance(e, EpochFinished) and e.epoch == after_epoch for e in message.events):
                    stop.ask(asked)
            else:
                last = message
    except StopRequested:
        last = "stopped"
    return events, last


def _epochs(events: list[TrainingEvent]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, EpochFinished)]


def test_workers_pause_together_and_go_on_to_the_weights_of_an_unbroken_training(
    breast_cancer: TrainingTask,  # noqa: F811
    tmp_path: Path,
) -> None:
    task = replace(breast_cancer, checkpoints=tmp_path / "checkpoints", output=tmp_path / "version")
    whole = replace(task, checkpoints=tmp_path / "whole", output=tmp_path / "whole-version")
    (_, finished), (_, nothing) = together(tmp_path, 2, _attempt, whole, None, 0)
    assert isinstance(finished, Finished)
    assert nothing is None, "the first worker alone makes the version"
    (events, first), (_, second) = together(tmp_path, 2, _attempt, task, StopKind.PAUSE, 3)
    assert (first, second) == ("stopped", "stopped")
    assert _epochs(events) == [1, 2, 3]
    broken = replace(task, logged_epochs=3)
    (events, resumed), _ = together(tmp_path, 2, _attempt, broken, None, 0)
    assert isinstance(events[0], TrainingStarted)
    assert events[0].resumed_epochs == 3
    assert _epochs(events) == [4, 5, 6]
    assert resumed.details.digest == finished.details.digest


def test_another_number_of_workers_goes_on_with_the_same_order_of_rows(
    breast_cancer: TrainingTask,  # noqa: F811
    tmp_path: Path,
) -> None:
    plan = breast_cancer.plan
    architecture = breast_cancer.specification.architecture.model_copy(update={"dropout": 0.0})
    specification = breast_cancer.specification.model_copy(update={"architecture": architecture})
    task = replace(
        breast_cancer,
        plan=plan,
        specification=specification,
        checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "version",
    )
    whole = replace(task, checkpoints=tmp_path / "whole", output=tmp_path / "whole-version")
    alone = [event for message in run(whole, Stop()) if isinstance(message, Told) for event in message.events]
    (first, _), _ = together(tmp_path, 2, _attempt, task, StopKind.PAUSE, 3)
    told = run(replace(task, logged_epochs=3), Stop())
    second = [event for message in told if isinstance(message, Told) for event in message.events]
    losses = [event.train_loss for event in alone if isinstance(event, EpochFinished)]
    both = [event.train_loss for event in [*first, *second] if isinstance(event, EpochFinished)]
    assert both == pytest.approx(losses, rel=1e-4)


def test_workers_finish_together_with_the_best_epoch(breast_cancer: TrainingTask, tmp_path: Path) -> None:  # noqa: F811
    task = replace(breast_cancer, checkpoints=tmp_path / "checkpoints", output=tmp_path / "version")
    endless = replace(task, plan=task.plan.model_copy(update={"epochs": 100_000}))
    (_, finished), (_, nothing) = together(tmp_path, 2, _attempt, endless, StopKind.FINISH, 3)
    assert isinstance(finished, Finished)
    assert nothing is None
    assert read_details(task.output) == finished.details


def _leaving(task: TrainingTask) -> None:
    """The second worker dies in the middle, and says nothing."""
    stop = Stop()
    for message in run(task, stop, partial(DataParallel, stop, 0)):
        epochs = [e for e in message.events if isinstance(e, EpochFinished)] if isinstance(message, Told) else []
        if epochs and torch.distributed.get_rank() == 1:
            os._exit(0)


def test_a_worker_whose_peer_dies_says_so(breast_cancer: TrainingTask, tmp_path: Path) -> None:  # noqa: F811
    task = replace(breast_cancer, checkpoints=tmp_path / "checkpoints", output=tmp_path / "version")
    endless = replace(task, plan=task.plan.model_copy(update={"epochs": 100_000}))
    first, second = together(tmp_path, 2, _leaving, endless)
    assert isinstance(first, LostPeer)
    assert second is None


def _drawn() -> list[float]:
    """What dropout would draw after some numbers of steps."""
    parallel, drawn = DataParallel(Stop(), 7, CPU), []
    for steps in (0, 1, 0):
        parallel.step_begins(steps)
        drawn.append(torch.rand(1).item())
    return drawn


def test_workers_draw_other_random_numbers_at_each_step_and_the_same_after_a_break(directory: Path) -> None:
    first, second = together(directory, 2, _drawn)
    assert len({*first, *second}) == 4
    assert first[0] == first[2]
    assert second[0] == second[2]


def _from_other_checkpoints() -> None:
    parallel = DataParallel(Stop(), 0, CPU)
    parallel.require_equal(100 + parallel.rank)


def test_a_worker_that_found_another_checkpoint_than_the_first_does_not_begin(directory: Path) -> None:
    first, second = together(directory, 2, _from_other_checkpoints)
    assert first is None
    assert isinstance(second, LostPeer)
    assert "after 101 steps, and the first one after 100" in str(second)
