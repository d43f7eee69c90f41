"""How much each row counts, from the column of a view that says it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Column, NumberColumn


@dataclass(frozen=True)
class WeightUnit:
    """What the weights of some rows are divided by, so that they are 1 on average.

    So their unit means nothing, as the loss is a mean, and no sum of them leaves the range of float32.
    """

    largest: float
    mean_share: float
    """The mean of weights divided by the largest one."""

    @classmethod
    def of(cls, read: Callable[[], Iterable[Column]]) -> "WeightUnit":
        """The unit of the rows that `read` gives, some at a time; it is called twice."""
        largest = max((_values(column).max(initial=0.0) for column in read()), default=0.0)
        if not largest:
            return cls(1.0, 1.0)
        total, count = 0.0, 0
        for column in read():
            total += float((_values(column) / largest).sum())
            count += len(column)
        return cls(float(largest), total / count)

    def weights(self, column: Column) -> NDArray[np.float32]:
        """Weights (N,) in the proportions of the column; all 0 if the column is."""
        return (_values(column) / self.largest / self.mean_share).astype(np.float32)


def weight_warnings(train_rows: int, without: int, validation_rows: int, validation_without: int) -> list[str]:
    """What the owner of a training should know of its weights; `without` are those of weight 0."""
    found = []
    if without:
        found.append(f"{without} of {train_rows} training rows have weight 0, and nothing learns from them")
    if validation_rows and validation_without == validation_rows:
        found.append(
            "all validation rows have weight 0, so the training loss decides when to stop and which epoch is best"
        )
    return found


def _values(column: Column) -> NDArray[np.float64]:
    assert isinstance(column, NumberColumn)
    return column.values
