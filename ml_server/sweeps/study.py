"""Optuna's part: which values the next trial has, and whether a trial goes on.

Importing Optuna takes half a second, and a suggestion may take seconds: both belong into a thread.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING

from ml_server.sweeps import values
from ml_server.sweeps.search_space import choices_of_members, counting, grid_point
from ml_server.sweeps.values import Choices, FloatRange, Parameter, Point, Scalar, Search
from ml_server.training.plans import TrainingPlan

if TYPE_CHECKING:
    import optuna


class TrialEnd(StrEnum):
    """What a sampler learns of a trial that ended."""

    VALUE = "value"
    """It came to a value."""
    STOPPED = "stopped"
    """It was stopped, or went wrong because of its values: others are better."""
    NOTHING = "nothing"
    """It says nothing about its values."""


class Study:
    """A search under way. Everything that it says follows from the search and from what it was told, and in what order.

    So a study that is told again what another one was told goes on as that one. It is for one thread at a time.
    """

    def __init__(self, name: str, plan: TrainingPlan, search: Search) -> None:
        """`plan` is what all trials have in common; `name` decides which trials share a bracket of Hyperband."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._plan = plan
        self._search = search
        self._trials: dict[int, optuna.Trial] = {}
        self._study = optuna.create_study(
            study_name=name,
            direction="maximize" if search.objective.maximise else "minimize",
            pruner=_pruner(search.pruner, plan.epochs),
        )

    def ask(self, number: int) -> Point:
        """The values of the next trial, which gets this number."""
        if isinstance(self._search.sampler, values.Grid):
            point = grid_point(self._plan, self._search, self._search.sampler.points, number)
            self.know(number, point)
            return point
        # A sampler of its own for each trial: what it takes by chance does not depend on which were drawn before.
        self._study.sampler = _sampler(self._search, _seed(self._search.seed, number))
        return self._suggested(number)

    def know(self, number: int, point: Point) -> None:
        """Takes a trial that was begun before, in the order in which they were begun."""
        self._study.enqueue_trial(dict(point))
        self._suggested(number)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Takes the objective's value after an epoch of a trial. True if the trial should end after it."""
        trial = self._trials[number]
        trial.report(value, epoch)
        return trial.should_prune()  # asked each time: successive halving notes the rungs that a trial has reached

    def tell(self, number: int, end: TrialEnd, value: float | None = None) -> None:
        """Takes the end of a trial, with its value if it came to one."""
        states = self._optuna.trial.TrialState
        trial = self._trials.pop(number)
        match end:
            case TrialEnd.VALUE:
                self._study.tell(trial, value)
            case TrialEnd.STOPPED:
                self._study.tell(trial, state=states.PRUNED)
            case TrialEnd.NOTHING:
                self._study.tell(trial, state=states.FAIL)

    def _suggested(self, number: int) -> Point:
        trial = self._trials[number] = self._study.ask()
        point = {each.path: _suggest(trial, each) for each in choices_of_members(self._search)}
        for parameter in counting(self._plan, self._search, point):
            if parameter.path not in point:
                point[parameter.path] = _suggest(trial, parameter)
        return point


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Scalar:
    match parameter.values:
        case Choices(values=choices):
            chosen = trial.suggest_categorical(parameter.path, choices)
            assert chosen is not None
            return chosen
        case FloatRange(min=low, max=high, log=log):
            return trial.suggest_float(parameter.path, low, high, log=log)
        case values.IntegerRange(min=lowest, step=step, log=is_log) as integers:
            return trial.suggest_int(parameter.path, lowest, integers.highest, step=step, log=is_log)


def _sampler(search: Search, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    match search.sampler:
        case values.Tpe(startup_trials=startup):
            # Trials under way count as bad, so that those of the same time don't all try the same.
            return samplers.TPESampler(n_startup_trials=startup, constant_liar=search.parallel_trials > 1, seed=seed)
        case values.GaussianProcess(startup_trials=startup):
            return samplers.GPSampler(n_startup_trials=startup, seed=seed)
        case _:
            return samplers.RandomSampler(seed=seed)


def _pruner(pruner: values.Pruner, epochs: int) -> optuna.pruners.BasePruner:
    from optuna import pruners

    # Epochs are counted from 1, so that the first one after the warm-up is `warmup + 1`.
    match pruner:
        case values.MedianPruner(startup_trials=startup, warmup_epochs=warmup):
            return pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1)
        case values.PercentilePruner(percentile=percentile, startup_trials=startup, warmup_epochs=warmup):
            return pruners.PercentilePruner(percentile, n_startup_trials=startup, n_warmup_steps=warmup + 1)
        case values.SuccessiveHalvingPruner(min_epochs=least, reduction_factor=factor):
            return pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=factor)
        case values.HyperbandPruner(min_epochs=least, reduction_factor=factor):
            most = max(least, epochs)
            return pruners.HyperbandPruner(min_resource=least, max_resource=most, reduction_factor=factor)
        case values.NoPruner():
            return pruners.NopPruner()


def _seed(seed: int, number: int) -> int:
    """A seed of 32 bits for a trial's sampler."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4])
