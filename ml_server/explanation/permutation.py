"""Contributions by putting a row's values into a baseline one after another.

E. Strumbelj, I. Kononenko: Explaining prediction models and individual predictions with feature contributions, 2014.
"""

import numpy as np
import torch
from torch import Tensor

from ml_server.explanation.batches import batches
from ml_server.explanation.feature_space import FeatureSpace
from servicekit.stopping import Stopping


def sampled_shapley(
    space: FeatureSpace, rows: Tensor, outputs: Tensor, orders: int, seed: int, stopping: Stopping
) -> Tensor:
    """Contributions (N, columns), float64, of rows (N, F) to the output whose index `outputs` (N,) gives for each.

    The random orders of the columns are the same for all rows, so that no row's contributions depend on the others.

    Raises:
        Stopped: Nobody waits any more.
    """
    count = len(space.columns)
    generator = np.random.default_rng(seed)
    columns = torch.from_numpy(np.stack([generator.permutation(count) for _ in range(orders)]))
    places = columns.argsort(dim=1)  # of each column in each order
    # What comes of the row once the first 0, 1, ..., all columns of an order are its own.
    results = torch.empty(len(rows) * orders * (count + 1), dtype=torch.float64)
    for part in batches(len(results), rows.shape[1]):
        stopping.check()
        points = torch.arange(part.start, part.stop)
        row, rest = points // (orders * (count + 1)), points % (orders * (count + 1))
        order, taken = rest // (count + 1), rest % (count + 1)
        is_own = (places[order] < taken[:, None])[:, space.column_of]
        with torch.no_grad():
            computed = space.model.compute(torch.where(is_own, rows[row], space.baseline))
        results[part] = computed.gather(1, outputs[row][:, None])[:, 0].double()
    gains = results.reshape(len(rows), orders, count + 1).diff(dim=2)
    found = torch.zeros(len(rows), count, dtype=torch.float64)
    for place, ordered in enumerate(columns):
        found.index_add_(1, ordered, gains[:, place])
    return found / orders
