"""Finds the delimiter of a text file, its header, and the line where its rows go wrong."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CANDIDATES = (",", "\t", ";", "|")
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 256 * 1024


def detect_delimiter(path: Path) -> str:
    """The candidate that cuts the first rows of a UTF-8 file most evenly into more than one cell; `,` if none does."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = file.read(SAMPLE_CHARACTERS)
    if len(sample) == SAMPLE_CHARACTERS:
        sample = sample[: sample.rfind("\n") + 1] or sample
    preferred = ("\t", *CANDIDATES) if path.suffix.lower() in (".tsv", ".tab") else CANDIDATES
    best, best_score = ",", (0.0, 0)
    for candidate in preferred:
        score = _evenness(sample, candidate)
        if score > best_score:
            best, best_score = candidate, score
    return best


def header_of(path: Path, delimiter: str) -> list[str]:
    """The cells of the first line that holds anything."""
    return next(_rows(path, delimiter), (0, []))[1]


def first_ragged_line(path: Path, delimiter: str, width: int) -> tuple[int, int] | None:
    """The line (from 1) and the number of cells of the first row that has not `width` of them; slow, for messages."""
    return next(((line, len(row)) for line, row in _rows(path, delimiter) if len(row) != width), None)


def _evenness(sample: str, delimiter: str) -> tuple[float, int]:
    """The share of rows with the commonest number of cells, and that number; (0, 0) if that is one."""
    widths: Counter[int] = Counter()
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            widths[len(row)] += bool(row)
            if widths.total() == SAMPLE_ROWS:
                break
    except csv.Error:
        return 0.0, 0
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return (round(count / widths.total(), 2), width) if width > 1 else (0.0, 0)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if row:
                yield reader.line_num, row
