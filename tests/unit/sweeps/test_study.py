"""What Optuna suggests and prunes, and that a study which is told again goes on as the one before."""

import ast
import logging
from pathlib import Path

import pytest

import ml_server
from ml_server.sweeps.study import Study, TrialEnd
from ml_server.sweeps.values import (
    Choices,
    FloatRange,
    GaussianProcess,
    Grid,
    HyperbandPruner,
    IntegerRange,
    MedianPruner,
    NoPruner,
    Objective,
    Parameter,
    PercentilePruner,
    Point,
    Pruner,
    Random,
    Sampler,
    Search,
    SuccessiveHalvingPruner,
    Tpe,
)
from ml_server.training.plans import TrainingPlan

EPOCHS = 9
PLAN = TrainingPlan(epochs=EPOCHS)
PARAMETERS = (
    Parameter(path="learning_rate", values=FloatRange(min=1e-4, max=0.1, log=True)),
    Parameter(path="batch_size", values=IntegerRange(min=16, max=100, step=8)),
    Parameter(path="optimizer", values=Choices(values=("adam", "sgd"))),
    Parameter(path="optimizer.sgd.momentum", values=FloatRange(min=0.0, max=0.9)),
)
PRUNERS = (
    NoPruner(),
    MedianPruner(startup_trials=2),
    PercentilePruner(percentile=30, startup_trials=2),
    SuccessiveHalvingPruner(reduction_factor=2),
    HyperbandPruner(),
)


def search(sampler: Sampler, pruner: Pruner, *, seed: int = 3, maximise: bool = False) -> Search:
    objective = Objective(maximise=maximise)
    return Search(
        parameters=PARAMETERS, sampler=sampler, pruner=pruner, seed=seed, parallel_trials=2, objective=objective
    )


def curve(point: Point, epoch: int) -> float:
    return abs(float(point["learning_rate"]) - 0.01) * 10 + float(point.get("optimizer.sgd.momentum", 0.4)) + 1 / epoch


class Told:
    """A study with all that it was told, so that another one can be told the same."""

    def __init__(self, wanted: Search) -> None:
        self.wanted = wanted
        self.study = Study("a", PLAN, wanted)
        self.points: dict[int, Point] = {}
        self.reports: list[tuple[int, int, float]] = []
        self.ends: list[tuple[int, TrialEnd, float | None]] = []

    def begin(self, number: int) -> Point:
        self.points[number] = self.study.ask(number)
        return self.points[number]

    def train(self, number: int) -> None:
        point = self.points[number]
        for epoch in range(1, EPOCHS + 1):
            if self.report(number, epoch, curve(point, epoch)):
                self.end(number, TrialEnd.STOPPED)
                return
        self.end(number, TrialEnd.VALUE, curve(point, EPOCHS))

    def report(self, number: int, epoch: int, value: float) -> bool:
        self.reports.append((number, epoch, value))
        return self.study.report(number, epoch, value)

    def end(self, number: int, end: TrialEnd, value: float | None = None) -> None:
        self.ends.append((number, end, value))
        self.study.tell(number, end, value)

    def again(self) -> Study:
        study = Study("a", PLAN, self.wanted)
        for number, point in self.points.items():
            study.know(number, point)
        for report in self.reports:
            study.report(*report)
        for end in self.ends:
            study.tell(*end)
        return study


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner.kind)
@pytest.mark.parametrize("sampler", [Random(), Tpe(startup_trials=3), Grid(points=3)], ids=lambda sampler: sampler.kind)
def test_a_study_that_is_told_again_suggests_and_prunes_the_same(sampler: Sampler, pruner: Pruner) -> None:
    told = Told(search(sampler, pruner))
    told.begin(1)
    for number in range(2, 12):  # two at a time
        told.begin(number)
        if number == 6:
            told.end(number - 1, TrialEnd.NOTHING)
        else:
            told.train(number - 1)
    again = told.again()
    point = told.begin(12)
    assert again.ask(12) == point
    for epoch in range(1, EPOCHS):
        assert again.report(12, epoch, curve(point, epoch)) == told.study.report(12, epoch, curve(point, epoch))


def test_so_does_one_that_goes_by_a_gaussian_process() -> None:
    told = Told(search(GaussianProcess(startup_trials=2), NoPruner()))
    for number in range(1, 4):
        told.begin(number)
        told.train(number)
    again = told.again()
    assert again.ask(4) == told.begin(4)


def test_suggestions_lie_within_the_bounds_and_differ_by_seed() -> None:
    first, second = (Study("a", PLAN, search(Random(), NoPruner(), seed=seed)) for seed in (1, 2))
    points = [first.ask(number) for number in range(1, 40)]
    for point in points:
        assert 1e-4 <= float(point["learning_rate"]) <= 0.1
        assert point["batch_size"] in range(16, 97, 8)
        assert ("optimizer.sgd.momentum" in point) == (point["optimizer"] == "sgd")
    assert len({float(point["learning_rate"]) for point in points}) == len(points)
    assert second.ask(1) != points[0]


@pytest.mark.parametrize("maximise", [False, True])
def test_a_trial_below_the_median_is_pruned_after_the_warm_up(maximise: bool) -> None:
    study = Study("a", PLAN, search(Random(), MedianPruner(startup_trials=2, warmup_epochs=2), maximise=maximise))
    sign = -1 if maximise else 1
    for number in (1, 2):
        study.ask(number)
        for epoch in range(1, EPOCHS + 1):
            study.report(number, epoch, sign * 1.0)
        study.tell(number, TrialEnd.VALUE, sign * 1.0)
    for number, value, pruned in ((3, 2.0, [False, False, True]), (4, 0.5, [False, False, False])):
        study.ask(number)
        assert [study.report(number, epoch, sign * value) for epoch in (1, 2, 3)] == pruned


def test_optuna_says_nothing_in_our_logs(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        told = Told(search(Tpe(startup_trials=2), MedianPruner(startup_trials=1)))
        for number in range(1, 5):
            told.begin(number)
            told.train(number)
    assert "rial" not in caplog.text
    assert capfd.readouterr().err == ""


def test_no_module_brings_optuna_when_it_is_imported() -> None:
    """That takes half a second, and most servers never see a sweep."""
    for file in Path(ml_server.__path__[0]).rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not any(name.split(".")[0] == "optuna" for name in [*names, module]), file
