"""Contributions by gradients along the way from a baseline.

M. Sundararajan, A. Taly, Q. Yan: Axiomatic Attribution for Deep Networks, 2017.
"""

import torch
from torch import Tensor

from ml_server.explanation.batches import batches
from ml_server.explanation.feature_space import FeatureSpace
from servicekit.stopping import Stopping


class NoGradients(Exception):
    """The network can't be differentiated."""


def integrated_gradients(space: FeatureSpace, rows: Tensor, outputs: Tensor, steps: int, stopping: Stopping) -> Tensor:
    """Contributions (N, columns), float64, of rows (N, F) to the output whose index `outputs` (N,) gives for each.

    The integral of the gradient on the straight line from the baseline is taken by the midpoint rule.

    Raises:
        NoGradients: PyTorch can't differentiate the network.
        Stopped: Nobody waits any more.
    """
    found = torch.zeros(len(rows), len(space.columns), dtype=torch.float64)
    for part in batches(len(rows) * steps, rows.shape[1]):
        stopping.check()
        points = torch.arange(part.start, part.stop)
        row, step = points // steps, points % steps
        differences = rows[row] - space.baseline
        gradients = _gradients(space, space.baseline + differences * ((step + 0.5) / steps)[:, None], outputs[row])
        products = (gradients.double() * differences) / steps
        by_column = torch.zeros(len(points), len(space.columns), dtype=torch.float64)
        found.index_add_(0, row, by_column.index_add_(1, space.column_of, products))
    return found


def _gradients(space: FeatureSpace, points: Tensor, outputs: Tensor) -> Tensor:
    """The gradient (N, F) of an output of each point (N, F)."""
    points.requires_grad_()
    with torch.enable_grad():
        # A copy: a module that works in place must not do so on what the gradient is asked for.
        results = space.model.compute(points.clone())
        chosen = results.gather(1, outputs[:, None]).sum()
        if not chosen.requires_grad:
            raise NoGradients
        try:
            (gradients,) = torch.autograd.grad(chosen, points, allow_unused=True)
        except RuntimeError as error:  # of an operation without a derivative, or one that overwrote what it needs
            raise NoGradients from error
    if gradients is None:
        raise NoGradients
    return gradients
