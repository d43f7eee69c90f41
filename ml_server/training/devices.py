"""The device that a plan's name means on this machine."""

import torch

from servicekit.errors import FailedPrecondition, Reason


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; `auto` takes the first GPU there is.

    Raises:
        FailedPrecondition: DEVICE_UNAVAILABLE.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise _unavailable(name, f"it has {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise _unavailable(name, "it has no MPS")
    return torch.device("cuda:0") if name == "cuda" else device


def _unavailable(name: str, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        Reason.DEVICE_UNAVAILABLE,
        f"this machine has no device '{name}', {what}: take 'auto' or 'cpu'",
        field="training_job.plan.device",
        device=name,
    )
