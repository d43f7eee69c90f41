"""Says what the demo does, as it does it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from flare_client.cli.output import print_fields, print_table


class Narrator:
    """Prints the steps of the story."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._step = 0

    def step(self, what: str) -> None:
        """Begins a step."""
        self._step += 1
        self.console.print(f"\n[bold]{self._step}. {what}[/]", soft_wrap=True)

    def command(self, *arguments: str) -> None:
        """Shows the command that does the same."""
        self.console.print(f"$ flare {shlex.join(arguments)}", style="cyan", markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def fields(self, fields: Sequence[tuple[str, object]]) -> None:
        """Prints names with values."""
        print_fields(fields, console=self.console)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints rows under headings."""
        print_table(columns, rows, empty="", console=self.console)
