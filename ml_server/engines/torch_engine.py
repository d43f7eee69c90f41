"""PyTorch itself: the reference that other engines are held against."""

import torch
from torch import nn

from ml_server.engines.engine import Features, Outputs


class TorchEngine:
    """Computes with a module in evaluation mode."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def run(self, features: Features) -> Outputs:
        """As Engine says."""
        if not features.flags.writeable:  # the memory of a request, which a module that works in place must not change
            features = features.copy()
        with torch.inference_mode():
            outputs: Outputs = self._module(torch.from_numpy(features)).numpy()
        return outputs
