"""Wide tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from flare_client.cli.output import stdout

GAP = 2
LEFT_OUT = "..."


def fitted(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The table with as many of its first and last columns as the terminal has room for. A pipe has room for all."""
    console = stdout()
    widths = [max(len(text) for text in column) + GAP for column in zip(headings, *rows, strict=True)]
    if not console.is_terminal or sum(widths) <= console.width:
        return list(headings), [list(row) for row in rows]
    left, right = 1, 0
    room = console.width - widths[0] - len(LEFT_OUT) - GAP
    while left + right < len(widths):
        width = widths[left] if left <= right + 1 else widths[-1 - right]
        if width > room:
            break
        room -= width
        left, right = (left + 1, right) if left <= right + 1 else (left, right + 1)

    def shown(cells: Sequence[str]) -> list[str]:
        return [*cells[:left], LEFT_OUT, *(cells[-right:] if right else ())]

    return shown(headings), [shown(row) for row in rows]
