"""What the command prints: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from flare_client.messages import as_json


class OutputFormat(StrEnum):
    """The form of a command's result."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="text for people, json for scripts")]


def stdout() -> Console:
    """Where results go."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Where progress and errors go."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    console = Console(file=file, highlight=False)
    # Into a file or a pipe lines are as long as they need to be, and nothing but text.
    return console if console.is_terminal else Console(file=file, highlight=False, width=10_000, color_system=None)


def print_json(value: object) -> None:
    """Prints one JSON document: messages by their field names, 64-bit integers as numbers."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_json_line(value: object) -> None:
    """Prints one line of JSON."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: object) -> Any:
    """The value with every message in it as plain JSON."""
    if isinstance(value, Message):
        return as_json(value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, console: Console | None = None
) -> None:
    """Prints rows under their headings, or the sentence `empty` if there are none. A heading `>X` aligns right."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    if table.row_count:
        _print_trimmed(table, console or stdout())
    else:
        stderr().print(empty)


def print_fields(fields: Iterable[tuple[str, object]], *, console: Console | None = None) -> None:
    """Prints `name  value` lines; values that are empty are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in ("", None):
            table.add_row(name, str(value))
    _print_trimmed(table, console or stdout())


def _print_trimmed(table: Table, console: Console) -> None:
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    console.file.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
