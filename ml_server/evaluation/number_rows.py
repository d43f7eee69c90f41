"""Rows of a target that is a number."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class NumberRows:
    """Truths (N,) and predictions (V, N), in the target's own unit."""

    def __init__(self, truth: Numbers, predicted: Numbers) -> None:
        centred = truth - truth.mean()  # squares of large numbers close to each other would lose what differs
        self.errors = np.abs(predicted - truth)
        self._statistics = np.concatenate([self.errors, self.errors**2, [np.ones(len(truth)), centred, centred**2]])

    @property
    def row_count(self) -> int:
        """N."""
        return int(self.errors.shape[1])

    @cached_property
    def sum_count(self) -> int:
        """Absolute and squared errors of each version, ones, truths and their squares."""
        return len(self._statistics)

    def sums(self, part: slice, weights: Numbers) -> Numbers:
        """The sums (S, B) over some rows n, counted by weights (n, B)."""
        return self._statistics[:, part] @ weights

    def metrics(self, sums: Numbers) -> dict[str, Numbers]:
        """Each metric of each version (V, B), as TorchMetrics defines them; r2 needs two rows that differ."""
        versions = len(self.errors)
        absolute, squared, (rows, truths, truth_squares) = np.split(sums, [versions, 2 * versions])
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = truth_squares - truths**2 / rows
            return {
                "mean_absolute_error": absolute / rows,
                "root_mean_squared_error": np.sqrt(squared / rows),
                "r2": np.where(spread > 1e-12 * truth_squares, 1 - squared / spread, np.nan),
            }
