"""Turns an ordinary `torch.nn.Module` into a graph that Flare trains and serves, weights included.

PyTorch is needed here and nowhere else in the client: `pip install 'flare[capture]'`.
"""

from flare_client.capture.capturing import CapturedModule, capture
from flare_client.capture.errors import CaptureError

__all__ = ["CaptureError", "CapturedModule", "capture"]
