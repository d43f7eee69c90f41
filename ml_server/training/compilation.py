"""Compiled forms of networks, where the machine can make them."""

from collections.abc import Callable

import torch
from torch import Tensor

from ml_server.networks.manageable_model import ManageableModel
from ml_server.training.rows import RowSource


def compiled(model: ManageableModel, rows: RowSource) -> tuple[Callable[[Tensor], Tensor] | None, str | None]:
    """The model compiled by torch.compile, tried on a few rows; or None and why not. The random state stays as it was.

    Compiling needs a C++ compiler on a CPU and Triton on a GPU, and fails with errors of many kinds without.
    """
    forward = torch.compile(model)
    devices = [rows.device] if rows.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            forward(next(rows.batches(2)).features)
    except Exception as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return None, f"this machine can't compile the network, which is trained as it is: {cause}"
    return forward, None
