"""Bars for work that is measured in bytes. They go to standard error, and only to a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from flare_client.cli.output import stderr


class ByteProgress:
    """A bar that is there as long as the block."""

    def __init__(self, description: str) -> None:
        console = stderr()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(description, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """Sets the bytes done and the bytes in all, 0 if not known."""
        self._progress.update(self._task, completed=done, total=total or None)

    def describe(self, description: str) -> None:
        """Says what is being done."""
        self._progress.update(self._task, description=description)

    def interrupted(self, cause: object) -> None:
        """Says that a connection broke."""
        self.note(f"connection lost, going on as soon as possible: {cause}")

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._progress.console.print(text)
