"""Faults of a model, its data or its plan, as PyTorch raises them: told with their place, and not tried again."""

from collections.abc import Iterator

import torch

from ml_server.training.loop import LoopEvent
from ml_server.training.state import Position
from servicekit.errors import FlareError, InvalidArgument, Reason, ResourceExhausted

# What PyTorch raises for shapes and operations that can't be.
_STEP_ERRORS = (RuntimeError, ValueError, IndexError, MemoryError)


def out_of_memory(error: Exception, position: Position | None = None) -> ResourceExhausted | None:
    """What a job is told that had too little memory, at a step if there is a `position`; None for other errors."""
    # torch has no class of its own for the memory of the CPU
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "DefaultCPUAllocator" not in str(error):
        return None
    message = f"the model or its batches do not fit into memory{_told(position)}: take a smaller batch_size or model"
    told = ResourceExhausted(Reason.OUT_OF_MEMORY, f"{message} ({error})", field="training_job.plan.batch_size")
    told.metadata |= _metadata(position)
    return told


def placed(events: Iterator[LoopEvent], position: Position) -> Iterator[LoopEvent]:
    """The loop's events; what PyTorch raises among them says at which step that was.

    Raises:
        ResourceExhausted: OUT_OF_MEMORY.
        InvalidArgument: STEP_FAILED.
    """
    try:
        yield from events
    except torch.AcceleratorError:  # of the device rather than of what it was to do
        raise
    except _STEP_ERRORS as error:
        raise out_of_memory(error, position) or _step_failed(error, position) from error


def _step_failed(error: Exception, position: Position) -> FlareError:
    message = f"PyTorch could not make a step{_told(position)}: {error}"
    told = InvalidArgument(Reason.STEP_FAILED, message, field="training_job")
    told.metadata |= _metadata(position)
    return told


def _told(position: Position | None) -> str:
    return f" at step {position.epoch_steps + 1} of epoch {position.finished_epochs + 1}" if position else ""


def _metadata(position: Position | None) -> dict[str, str]:
    if position is None:
        return {}
    return {"epoch": str(position.finished_epochs + 1), "step": str(position.epoch_steps + 1)}
