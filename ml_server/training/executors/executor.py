"""The port of executors: where an attempt at a training runs."""

from collections.abc import AsyncGenerator
from typing import Protocol

from ml_server.training.task import TrainingTask, WorkerMessage


class Executor(Protocol):
    """Runs tasks outside of the server's process."""

    async def start(self) -> None:
        """Makes ready to run tasks quickly."""
        ...

    def run(self, task: TrainingTask) -> AsyncGenerator[WorkerMessage, None]:
        """Yields what the worker says, up to its last message. Closing the iterator ends the worker.

        Raises:
            LostAttempt: The worker died, or could not be started; another attempt may succeed.
        """
        ...

    async def drain(self) -> None:
        """Called when the server ends and no task runs any more."""
        ...
