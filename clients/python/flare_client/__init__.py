"""Flare from Python: `with flare_client.connect() as flare: ...`, or `flare_client.aio` for asyncio."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_client.comparisons import comparison_frame
    from flare_client.errors import FlareError, Violation
    from flare_client.history import Epoch, plot_history
    from flare_client.reports import class_frame, confusion_frame
    from flare_client.specifications import block, cnn, mlp
    from flare_client.sweep_requests import between
    from flare_client.sync import (
        BatchPredictionHandle,
        Flare,
        ImportJobHandle,
        SweepHandle,
        TrainingJobHandle,
        connect,
        login,
    )

__all__ = [
    "BatchPredictionHandle",
    "Epoch",
    "Flare",
    "FlareError",
    "ImportJobHandle",
    "SweepHandle",
    "TrainingJobHandle",
    "Violation",
    "between",
    "block",
    "class_frame",
    "cnn",
    "comparison_frame",
    "confusion_frame",
    "connect",
    "login",
    "mlp",
    "plot_history",
]

_PLACES = {
    "comparisons": ("comparison_frame",),
    "errors": ("FlareError", "Violation"),
    "history": ("Epoch", "plot_history"),
    "reports": ("class_frame", "confusion_frame"),
    "specifications": ("block", "cnn", "mlp"),
    "sweep_requests": ("between",),
    "sync": (
        "BatchPredictionHandle",
        "Flare",
        "ImportJobHandle",
        "SweepHandle",
        "TrainingJobHandle",
        "connect",
        "login",
    ),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Loads a name when it is first used: the command and the asynchronous client don't wait for the rest."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'flare_client' has no attribute {name!r}")
    return getattr(import_module(f"flare_client.{_PLACE_OF[name]}"), name)
