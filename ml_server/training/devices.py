"""The device that a plan's name means on this machine."""

import torch

from ml_server.training.plans import Precision, TrainingPlan
from servicekit.errors import FailedPrecondition, InvalidArgument, Reason


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
        raise no_such_device(name, f"this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise no_such_device(name, "this machine has no MPS")
    return torch.device("cuda:0") if name == "cuda" else device


def gpus() -> dict[str, list[str]]:
    """The GPUs of this machine by their kind: `{"cuda": ["cuda:0", "cuda:1"]}`."""
    kinds = {"cuda": [f"cuda:{index}" for index in range(torch.cuda.device_count())]}
    if torch.backends.mps.is_available():
        kinds["mps"] = ["mps"]
    return kinds


def wanted_gpu(name: str, device: torch.device) -> str:
    """What a job has to have to itself whose plan names a device that was resolved to `device`.

    Any GPU of a kind, such as `cuda`, unless the plan names one; empty for the CPU.
    """
    if device.type == "cpu":
        return ""
    return name if ":" in name else device.type


def check_device(plan: TrainingPlan, device: torch.device) -> None:
    """Raises InvalidArgument if the plan's precision is not for the device that it will have."""
    if plan.precision is Precision.FLOAT16 and device.type != "cuda":
        message = f"precision FLOAT16 needs a CUDA device, and device '{plan.device}' is {device}: take BFLOAT16"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="training_job.plan.precision")


def no_such_device(name: str, what: str) -> FailedPrecondition:
    """The error of a plan that wants a device which is not there; `what` is there instead."""
    return FailedPrecondition(
        Reason.DEVICE_UNAVAILABLE,
        f"there is no device '{name}': {what}; take 'auto' or 'cpu'",
        field="training_job.plan.device",
        device=name,
    )
