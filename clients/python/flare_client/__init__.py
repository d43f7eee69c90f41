"""Flare from Python: `with flare_client.connect() as flare: ...`, or `flare_client.aio` for asyncio."""

from flare_client.errors import FlareError, Violation
from flare_client.history import Epoch, plot_history
from flare_client.specifications import block, cnn, mlp
from flare_client.sync import Flare, ImportJobHandle, TrainingJobHandle, connect, login

__all__ = [
    "Epoch",
    "Flare",
    "FlareError",
    "ImportJobHandle",
    "TrainingJobHandle",
    "Violation",
    "block",
    "cnn",
    "connect",
    "login",
    "mlp",
    "plot_history",
]
