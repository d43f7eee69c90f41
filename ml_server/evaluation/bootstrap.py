"""The Poisson bootstrap: every row counts 0, 1, 2, ... times, at random and for itself, as often as wanted.

It gives the intervals of drawing the rows anew, and needs no more memory than a few rows by the resamples (Chamandy et
al., "Estimating Uncertainty for Massive Data Streams", 2012). All versions share the draws, so that what is equally
hard for all of them cancels in their differences.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml_server.evaluation.values import Estimate, MetricComparison, PairedDifference
from servicekit.stopping import Stopping

Numbers = NDArray[np.float64]

ROWS_AT_A_TIME = 256
NUMBERS_AT_A_TIME = 4_000_000
# How often a row counts for each of the 65,536 values of a random number of 16 bits.
_COUNT_OF = stats.poisson.ppf((np.arange(1 << 16) + 0.5) / (1 << 16), 1.0)


class PairedRows(Protocol):
    """N rows with what V versions made of them, in a form whose metrics follow from sums over rows."""

    @property
    def row_count(self) -> int:
        """N."""
        ...

    @property
    def sum_count(self) -> int:
        """How many sums there are, S."""
        ...

    def sums(self, part: slice, weights: Numbers) -> Numbers:
        """The sums (S, B) over some rows n, counted by weights (n, B)."""
        ...

    def metrics(self, sums: Numbers) -> dict[str, Numbers]:
        """Each metric of each version (V, B) from the sums over all rows; not finite where it is not defined."""
        ...


def measured(rows: PairedRows, stopping: Stopping) -> dict[str, Numbers]:
    """Each metric of each version (V,) over all rows."""
    weights = np.ones((rows.row_count, 1))
    total = np.zeros((rows.sum_count, 1))
    for part in _parts(rows.row_count):
        stopping.check()
        total += rows.sums(part, weights[part])
    return {name: values[:, 0] for name, values in rows.metrics(total).items()}


def resampled(rows: PairedRows, count: int, seed: int, stopping: Stopping) -> dict[str, Numbers]:
    """Each metric of each version (V, count) over as many resamples."""
    random = np.random.default_rng(seed % (1 << 64))
    width = max(1, min(count, NUMBERS_AT_A_TIME // (rows.sum_count + ROWS_AT_A_TIME)))
    found: dict[str, list[Numbers]] = {}
    for start in range(0, count, width):
        columns = min(width, count - start)
        total = np.zeros((rows.sum_count, columns))
        for part in _parts(rows.row_count):
            stopping.check()
            draws = random.integers(0, 1 << 16, (part.stop - part.start, columns), dtype=np.uint16)
            total += rows.sums(part, _COUNT_OF[draws])
        for name, values in rows.metrics(total).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values, axis=1) for name, values in found.items()}


def compared(
    name: str, higher_is_better: bool, values: Numbers, samples: Numbers, versions: Sequence[str], confidence: float
) -> MetricComparison:
    """What values (V,) of a metric and those of resamples (V, B) say of versions."""
    differences = [
        PairedDifference(
            version, estimate(value - values[0], other - samples[0], confidence), p_value(other - samples[0])
        )
        for version, value, other in zip(versions[1:], values[1:], samples[1:], strict=True)
    ]
    estimates = [estimate(value, sample, confidence) for value, sample in zip(values, samples, strict=True)]
    return MetricComparison(name, higher_is_better, tuple(estimates), tuple(differences))


def estimate(value: float, samples: Numbers, confidence: float) -> Estimate:
    """A value with its percentile interval; resamples in which it is not defined are left out."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return Estimate(float(value), float(value), float(value))
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(finite, [tail, 1 - tail])
    return Estimate(float(value), float(lower), float(upper))


def p_value(differences: Numbers) -> float:
    """How likely so far from zero is, of both sides, from resamples of a difference.

    Twice the share on the far side of zero, counting the data themselves as one more resample there: so it is never 0
    (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, chapter 4).
    """
    finite = differences[np.isfinite(differences)]
    far = min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    return min(1.0, 2 * (far + 1) / (len(finite) + 1))


def _parts(rows: int) -> list[slice]:
    return [slice(start, min(start + ROWS_AT_A_TIME, rows)) for start in range(0, rows, ROWS_AT_A_TIME)]
