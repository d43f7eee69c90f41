"""The Markdown that the reference pages are written in."""

import re
from collections.abc import Sequence


def code(text: str) -> str:
    """A Markdown code span: its fence is longer than any run of backticks inside."""
    fence = "`"
    while fence in text:
        fence += "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def anchor(title: str) -> str:
    """The fragment that a Markdown renderer gives to a heading of this text."""
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


def in_text(comment: str) -> str:
    """Comment as paragraphs. Angle brackets outside code spans are words, never markup."""
    parts = re.split(r"(`[^`]*`)", comment)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def in_cell(text: str) -> str:
    """Text on one line, where a bar would end the cell."""
    return " ".join(in_text(text).split()).replace("|", "\\|")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, without the columns that are empty in every row."""
    kept = [index for index in range(len(header)) if any(row[index] for row in rows)]
    lines = [[header[index] for index in kept], ["---"] * len(kept), *([row[index] for index in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
