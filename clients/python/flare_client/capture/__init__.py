"""Turns an ordinary `torch.nn.Module` into a graph that Flare trains and serves, weights included.

PyTorch is needed here and nowhere else in the client: `pip install 'flare[capture]'`.
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ModuleNotFoundError("capturing a module needs PyTorch: pip install 'flare[capture]'", name="torch")

from flare_client.capture.capturing import CapturedModule, capture
from flare_client.capture.errors import CaptureError

__all__ = ["CaptureError", "CapturedModule", "capture"]
