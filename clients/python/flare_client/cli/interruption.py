"""Ctrl-C while a job is watched, or a file is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from flare_client.cli.main import INTERRUPTED
from flare_client.cli.output import stderr


@contextmanager
def leaves_running(job_name: str, watch: str = "flare jobs watch") -> Iterator[None]:
    """Ends the command on Ctrl-C and says that the job goes on and how to `watch` it again."""
    try:
        yield
    except KeyboardInterrupt:
        stderr().print(f"\n{job_name} goes on without you. Watch it again: {watch} {job_name}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def keeps_what_arrived() -> Iterator[None]:
    """Ends the command on Ctrl-C and says that what was sent is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        stderr().print("\nWhat has arrived is kept: the same command goes on where it stopped.", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
