"""How each class does, and what it was taken for."""

from __future__ import annotations

from collections.abc import Sequence

from flare.ml.v1 import metric_pb2
from rich.console import Console
from rich.text import Text

from flare_client.cli.output import print_table, stdout
from flare_client.reports import class_labels, confusion_rows

# A matrix of more classes is wider than a terminal.
SHOWN_MATRIX_CLASSES = 12


def print_reports(
    reports: Sequence[metric_pb2.ClassificationReport], *, most: int | None = None, console: Console | None = None
) -> None:
    """Prints a table of classes for each target, at most so many of them, and a matrix of what was taken for what."""
    console = console or stdout()
    for report in reports:
        matrix = confusion_rows(report)
        shown = len(report.classes) if most is None else most
        _print_classes(report, matrix, shown, console)
        if 0 < len(matrix) <= SHOWN_MATRIX_CLASSES:
            _print_matrix(report, matrix, console)


def _print_classes(
    report: metric_pb2.ClassificationReport, matrix: list[list[int]], shown: int, console: Console
) -> None:
    labels = class_labels(report)
    figures = zip(labels, report.classes, strict=True)
    rows: list[list[object]] = [
        [label, f"{each.precision:.4f}", f"{each.recall:.4f}", f"{each.f1:.4f}", f"{each.row_count:,}"]
        for label, each in figures
    ]
    columns = [report.target, ">PRECISION", ">RECALL", ">F1", ">ROWS"]
    if matrix:
        columns.append("MOSTLY TAKEN FOR")
        for place, row in enumerate(rows):
            row.append(_worst(labels, matrix[place], place))
    print_table(columns, rows[:shown], empty="", console=console)
    if len(rows) > shown:
        console.print(Text(f"and {len(rows) - shown} more classes", style="dim"))


def _worst(labels: Sequence[str], counts: Sequence[int], own: int) -> str:
    """`cat (12)`: the class that most rows of a class were wrongly taken for; empty if none was."""
    wrong = [0 if place == own else count for place, count in enumerate(counts)]
    most = max(wrong)
    return f"{labels[wrong.index(most)]} ({most:,})" if most else ""


def _print_matrix(report: metric_pb2.ClassificationReport, matrix: list[list[int]], console: Console) -> None:
    labels = class_labels(report)
    print_table(
        [f"{report.target} \\ TAKEN FOR", *(f">{label}" for label in labels)],
        ([label, *(f"{count:,}" for count in counts)] for label, counts in zip(labels, matrix, strict=True)),
        empty="",
        console=console,
    )
