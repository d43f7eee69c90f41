"""The port of executors: where an attempt at a training runs."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from ml_server.training.plans import TrainingPlan
from ml_server.training.task import TrainingTask, WorkerMessage
from servicekit.jobs.resources import Resources


class Control(Protocol):
    """What an attempt is told from outside while it runs."""

    finish_requested: asyncio.Event
    """Set when the best epoch so far is to become a version, without further training."""
    is_abandoned: bool
    """True if nobody will go on with the job: a worker that is ended then saves nothing."""


class Executor(Protocol):
    """Runs tasks outside of the server's process."""

    async def start(self) -> None:
        """Makes ready to run tasks quickly. Raises Unavailable if there is nothing to run them on."""
        ...

    resources: Resources
    """What of this executor one job at a time can have."""

    def check(self, plan: TrainingPlan) -> str:
        """Passes a plan that this executor can follow, and names the resource that it takes; empty for none.

        Raises:
            InvalidArgument: The plan's precision is not for its device, or its workers are too many.
            FailedPrecondition: DEVICE_UNAVAILABLE.
        """
        ...

    def run(self, task: TrainingTask, control: Control) -> AsyncGenerator[WorkerMessage, None]:
        """Yields what the worker says, up to its last message. Closing the iterator ends the worker.

        There is no last message if it was to finish and had nothing to finish with.
        A worker that is ended so saves a checkpoint first, unless the job is abandoned.

        Raises:
            LostAttempt: The worker died, or could not be started; another attempt may succeed.
        """
        ...

    async def drain(self) -> None:
        """Called when the server ends and no task runs any more."""
        ...
