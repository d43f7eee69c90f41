"""A comparison of versions: what is asked for, and what was found. Fields are those of the messages of these names."""

from dataclasses import dataclass

from ml_server.features.targets import Task
from ml_server.registry.values import ModelVersion


@dataclass(frozen=True)
class ComparisonRequest:
    """Versions by the names that people gave them, the first being the one to compare with, and how to compare.

    An empty `view` means that of the first version.
    """

    versions: tuple[str, ...]
    view: str
    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Estimate:
    """A figure over all rows, and its confidence interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class PairedDifference:
    """A version's figure minus that of the first, on the same rows."""

    version: str
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class MetricComparison:
    """A metric of all V versions: V estimates, and V - 1 differences."""

    name: str
    higher_is_better: bool
    estimates: tuple[Estimate, ...]
    differences: tuple[PairedDifference, ...]


@dataclass(frozen=True)
class McNemarTest:
    """Rows that one of two versions alone gets right, and what that says."""

    version: str
    only_first_count: int
    only_version_count: int
    p_value: float
    exact_p_value: float


@dataclass(frozen=True)
class SignedRankTest:
    """Rows on which a version's absolute error is smaller or larger than that of the first, and what that says."""

    version: str
    smaller_count: int
    larger_count: int
    p_value: float


@dataclass(frozen=True)
class TargetComparison:
    """What was found of one target."""

    target: str
    task: Task
    unseen_row_count: int
    metrics: tuple[MetricComparison, ...]
    mcnemar_tests: tuple[McNemarTest, ...] = ()
    signed_rank_tests: tuple[SignedRankTest, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Versions measured against each other on the test rows of a view."""

    view: str
    view_digest: str
    row_count: int
    versions: tuple[ModelVersion, ...]
    targets: tuple[TargetComparison, ...]
    confidence: float
    resamples: int
    seed: int
