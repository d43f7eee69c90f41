"""What a version's rows are compared with later: how those of its training are distributed, and its answers to some."""

from collections.abc import Iterator

import numpy as np
import torch

from ml_server.engines.engine import Outputs
from ml_server.monitoring.reference import Reference, make_reference
from ml_server.networks.manageable_model import ManageableModel
from ml_server.training.preparation import Prepared
from ml_server.training.rows import RowSource

# So many are enough for ten bins; of wide rows, such as images, fewer, for the memory that they take.
MOST_ROWS = 20_000
MOST_FEATURES = 10_000_000
# Answers are enough with fewer: a large network takes milliseconds for each.
MOST_ANSWERS = 5_000
# Answers for rows that training has not seen are nearer to those in serving, if these are enough to say how they are.
ENOUGH_ROWS = 500
READ_ROWS = 1_024
READ_FEATURES = 4_000_000


def drift_reference(model: ManageableModel, prepared: Prepared, device: torch.device) -> Reference:
    """The reference of a version, from evenly spaced rows; `model` is on `device`."""
    train = prepared.train
    most = min(MOST_ROWS, max(1, MOST_FEATURES // max(train.width, 1)))
    rows = torch.cat(list(spaced(train, most))).cpu().numpy()
    judged = prepared.validation if len(prepared.validation) >= ENOUGH_ROWS else train
    return make_reference(prepared.features, prepared.targets, rows, _outputs(model, judged, device))


def spaced(source: RowSource, most: int) -> Iterator[torch.Tensor]:
    """The features of at most so many rows, evenly spaced, some (n, F) at a time; all rows if they are not more."""
    step = -(-len(source) // most)
    start = 0
    for batch in source.batches(max(1, min(READ_ROWS, READ_FEATURES // max(source.width, 1)))):
        yield batch.features[-start % step :: step].clone()  # a view would keep the whole batch in memory
        start += len(batch)


@torch.inference_mode()
def _outputs(model: ManageableModel, judged: RowSource, device: torch.device) -> Outputs:
    model.eval()
    parts = [model(rows.to(device)).float().cpu().numpy() for rows in spaced(judged, MOST_ANSWERS) if len(rows)]
    outputs: Outputs = np.concatenate(parts)
    return outputs
