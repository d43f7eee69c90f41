"""What a sweep is asked for: values for fields of the plan, how they are chosen, and what makes a good trial."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import Field

from ml_server.networks.values import AtLeastOne, NotNegative, PositiveOrZero, Value
from ml_server.training.jobs import TrainingSpec

Scalar = bool | int | float | str
"""A value of a parameter."""
Point = dict[str, Scalar]
"""The values of one trial, by the paths of their parameters."""


class FloatRange(Value):
    """Floating-point numbers from `min` to `max`; equal ratios are equally likely with `log`."""

    kind: Literal["float"] = "float"
    min: float
    max: float
    log: bool = False


class IntegerRange(Value):
    """Integers from `min` on by steps up to `max`; equal ratios are equally likely with `log`."""

    kind: Literal["integer"] = "integer"
    min: int
    max: int
    step: AtLeastOne = 1
    log: bool = False

    @property
    def highest(self) -> int:
        """The highest that steps from `min` reach."""
        return self.max - (self.max - self.min) % self.step


class Choices(Value):
    """Values without an order."""

    kind: Literal["choices"] = "choices"
    values: tuple[Scalar, ...]


class Parameter(Value):
    """A field of the plan, by its path, and the values that it may take."""

    path: str
    values: Annotated[FloatRange | IntegerRange | Choices, Field(discriminator="kind")]


class Objective(Value):
    """What makes a trial a good one: the loss or a metric of the validation rows, of one target."""

    metric: str = "validation_loss"
    target: str = ""
    maximise: bool = False


class Tpe(Value):
    """Where trials were good before."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: AtLeastOne = 10


class Random(Value):
    """By chance."""

    kind: Literal["random"] = "random"


class Grid(Value):
    """Each combination once."""

    kind: Literal["grid"] = "grid"
    points: AtLeastOne = 5
    """Values of each range."""


class GaussianProcess(Value):
    """Where a Gaussian process expects the most."""

    kind: Literal["gaussian_process"] = "gaussian_process"
    startup_trials: AtLeastOne = 10


Sampler = Annotated[Tpe | Random | Grid | GaussianProcess, Field(discriminator="kind")]


class NoPruner(Value):
    """No trial is stopped."""

    kind: Literal["no_pruner"] = "no_pruner"


class MedianPruner(Value):
    """Stops trials below the median of the others at the same epoch."""

    kind: Literal["median"] = "median"
    startup_trials: AtLeastOne = 5
    warmup_epochs: NotNegative = 0


class PercentilePruner(Value):
    """Stops trials that are not within the best percentage at the same epoch."""

    kind: Literal["percentile"] = "percentile"
    percentile: Annotated[float, Gt(0), Lt(100)]
    startup_trials: AtLeastOne = 5
    warmup_epochs: NotNegative = 0


class SuccessiveHalvingPruner(Value):
    """Lets one of `reduction_factor` trials go on after `min_epochs`, and each time after as many times more."""

    kind: Literal["successive_halving"] = "successive_halving"
    min_epochs: AtLeastOne = 1
    reduction_factor: Annotated[int, Ge(2)] = 4


class HyperbandPruner(Value):
    """Successive halving with several first budgets."""

    kind: Literal["hyperband"] = "hyperband"
    min_epochs: AtLeastOne = 1
    reduction_factor: Annotated[int, Ge(2)] = 3


Pruner = Annotated[
    NoPruner | MedianPruner | PercentilePruner | SuccessiveHalvingPruner | HyperbandPruner,
    Field(discriminator="kind"),
]


class Search(Value):
    """What differs from trial to trial, and how a good one is found."""

    parameters: tuple[Parameter, ...]
    objective: Objective = Objective()
    sampler: Sampler = Tpe()
    pruner: Pruner = NoPruner()
    max_trials: NotNegative = 0
    """0 for 20, or for the whole grid."""
    parallel_trials: AtLeastOne = 1
    max_seconds: PositiveOrZero = 0.0
    """From the first attempt on; 0 for as long as it takes."""
    seed: int = 0


class SweepSpec(Value):
    """What a sweep is to do; stored with it."""

    training: TrainingSpec
    """What all trials have in common."""
    search: Search
    total_trials: AtLeastOne
    """At most so many trials."""

    def to_json(self) -> dict[str, Any]:
        """The spec as the job store keeps it."""
        return self.model_dump(mode="json")
