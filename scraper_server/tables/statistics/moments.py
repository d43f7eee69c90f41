"""Mean and standard deviation of numbers that come in runs."""

import math

import numpy as np
import numpy.typing as npt

# Squares of numbers with exponents of two beyond these overflow, or vanish.
_EVERYDAY_EXPONENT = 400
# As many numbers as stay in a processor's cache through all steps.
_CACHED = 16_384


class Moments:
    """Chan, Golub and LeVeque's pairwise update ("Updating formulae", 1979), which loses no digits to large means.

    Numbers near the ends of the floating point range are held in units of a power of two, so that nothing overflows.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._squares = 0.0  # sum of squared deviations from the mean
        self._exponent: int | None = None  # mean is in units of 2 ** exponent, squares in those squared

    def add(self, run: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> None:
        """Takes a run of finite numbers in ascending order, at least one."""
        self._use_units_for(max(-float(run[0]), float(run[-1])))
        for start in range(0, len(run), _CACHED):
            part = run[start : start + _CACHED].astype(np.float64, copy=False)
            self._add(np.ldexp(part, -self._exponent) if self._exponent else part)

    def _add(self, scaled: npt.NDArray[np.float64]) -> None:
        count, mean = len(scaled), float(scaled.mean())
        deviations = scaled - mean
        squares = float(np.square(deviations, out=deviations).sum())  # a dot product would start BLAS's threads
        apart = mean - self._mean
        total = self.count + count
        self._squares += squares + apart * apart * (self.count * count / total)
        self._mean += apart * (count / total)
        self.count = total

    @property
    def mean(self) -> float:
        """The arithmetic mean; 0 of no numbers."""
        return math.ldexp(self._mean, self._exponent or 0)

    @property
    def standard_deviation(self) -> float:
        """The standard deviation of the population; 0 of no numbers."""
        return math.ldexp(math.sqrt(self._squares / self.count), self._exponent or 0) if self.count else 0.0

    def _use_units_for(self, largest: float) -> None:
        exponent = math.frexp(largest)[1]
        needed = exponent if largest and abs(exponent) > _EVERYDAY_EXPONENT else 0
        if self._exponent is None:
            self._exponent = needed
        elif needed > self._exponent:
            lowered = self._exponent - needed
            self._mean, self._squares = math.ldexp(self._mean, lowered), math.ldexp(self._squares, 2 * lowered)
            self._exponent = needed
