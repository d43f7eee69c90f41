"""How far rows that versions predict for are from those of their training, by the population stability index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ml_server.monitoring.measures import Measure, Quantity
from ml_server.monitoring.reference import CategoryBins, ColumnReference, NumberBins, Reference

# Added to the count of each bin, so that an empty one does not make the index infinite (Jeffreys' prior).
SMOOTHING = 0.5

# The usual bands: Siddiqi, "Credit Risk Scorecards" (2006).
MODERATE_INDEX, LARGE_INDEX = 0.1, 0.25


class DriftBand(StrEnum):
    """What an index says."""

    STABLE = "stable"
    MODERATE = "moderate"
    LARGE = "large"


@dataclass(frozen=True)
class BinShare:
    """A bin with its share of the reference and of the rows counted.

    It is of the numbers from `lower` on and below `upper`, None: without an end; or of a category; or, if there is
    neither, of all categories that have no bin. `is_unknown`: of missing ones, and those that training never saw.
    """

    reference: float
    observed: float
    lower: float | None = None
    upper: float | None = None
    category: str | None = None
    is_unknown: bool = False


@dataclass(frozen=True)
class ColumnDrift:
    """The index of a column, and what it would be on average if rows were drawn like those of training."""

    column: str
    quantity: Quantity
    index: float
    chance_index: float
    bins: tuple[BinShare, ...]

    @property
    def band(self) -> DriftBand:
        """Where the index lies."""
        if self.index < MODERATE_INDEX:
            return DriftBand.STABLE
        return DriftBand.MODERATE if self.index < LARGE_INDEX else DriftBand.LARGE


@dataclass(frozen=True)
class VersionDrift:
    """The drift of a version's inputs and outputs over the `rows` counted since a point in time.

    `dropped` rows were not counted, since too many waited. `problem` says why there is nothing to compare with. There
    are no columns without a reference, or without rows.
    """

    since: datetime
    rows: int
    dropped: int
    reference: Reference | None = None
    problem: str = ""
    inputs: tuple[ColumnDrift, ...] = ()
    outputs: tuple[ColumnDrift, ...] = ()


Counts = NDArray[np.int64]


def stability_index(expected: Sequence[int] | Counts, observed: Sequence[int] | Counts) -> float:
    """The population stability index of counts in bins: the sum of (o - e) x ln(o / e) over the shares of both.

    With SMOOTHING in each bin. That is the symmetric Kullback-Leibler divergence, in nats.
    """
    shares = [_smoothed(np.asarray(counts, dtype=np.float64)) for counts in (expected, observed)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def chance_index(bins: int, expected: int, observed: int) -> float:
    """What the index is on average between two samples of one distribution: the larger they are, the less.

    As Yurdakul, "Statistical Properties of Population Stability Index" (2018), has it.
    """
    return (bins - 1) * (1 / expected + 1 / observed)


def column_drift(measure: Measure, reference: ColumnReference, counts: Counts) -> ColumnDrift:
    """The drift of a column, of which at least one row is counted."""
    expected = np.array(reference.bins.counts)
    # A bin beyond the range of training has no rows there, and by chance hardly any here.
    used = int(((expected + counts) > 0).sum())
    return ColumnDrift(
        measure.column,
        measure.quantity,
        stability_index(expected, counts),
        chance_index(used, max(int(expected.sum()), 1), int(counts.sum())),
        tuple(_bins(measure, reference, expected / max(expected.sum(), 1), counts / counts.sum())),
    )


def _smoothed(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed: NDArray[np.float64] = (counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts))
    return smoothed


def _bins(
    measure: Measure, reference: ColumnReference, expected: NDArray[np.float64], observed: NDArray[np.float64]
) -> Iterator[BinShare]:
    shares = list(zip(expected.tolist(), observed.tolist(), strict=True))
    match reference.bins:
        case NumberBins(edges=edges):
            ends = [None, *map(measure.told, edges), None]
            for share, lower, upper in zip(shares, ends, ends[1:], strict=False):
                yield BinShare(*share, lower, upper)
        case CategoryBins(codes=codes):
            for share, code in zip(shares, codes, strict=False):
                is_known = code < len(measure.labels)
                yield BinShare(*share, category=measure.labels[code] if is_known else None, is_unknown=not is_known)
            yield from (BinShare(*share) for share in shares[len(codes) :])
