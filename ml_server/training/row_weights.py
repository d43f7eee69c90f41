"""How much each row counts, from the column of a view that says it."""

import numpy as np
import torch
from torch import Tensor

from ml_server.features.columns import Column, NumberColumn
from ml_server.training.events import TrainingWarning
from ml_server.training.rows import Rows


def row_weights(column: Column) -> Tensor:
    """Weights (N,) float32 in the proportions of the column, 1 on average; all 0 if the column is.

    So their unit means nothing, as the loss is a mean, and no sum of them leaves the range of float32.
    """
    assert isinstance(column, NumberColumn)
    largest = column.values.max(initial=0.0)
    if not largest:
        return torch.zeros(len(column))
    shares = column.values / largest
    return torch.from_numpy((shares / shares.mean()).astype(np.float32))


def weight_warnings(train: Rows, validation: Rows) -> tuple[TrainingWarning, ...]:
    """What the owner of a training should know of its weights."""
    found = []
    without = 0 if train.weights is None else int((train.weights == 0).sum())
    if without:
        found.append(
            TrainingWarning(f"{without} of {len(train)} training rows have weight 0, and nothing learns from them")
        )
    if validation.weights is not None and len(validation) and not bool(validation.weights.any()):
        found.append(
            TrainingWarning(
                "all validation rows have weight 0, so the training loss decides when to stop and which epoch is best"
            )
        )
    return tuple(found)
