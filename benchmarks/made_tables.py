"""Tables like those that people import: measurements, counts, categories, days and ids, the same every time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

CHUNK_ROWS = 100_000
_FIRST_DAY = np.datetime64("2015-01-01")


def write_csv(path: Path, columns: int, rows: int = 0, size_bytes: int = 0) -> int:
    """Writes a table of `rows`, or of as many as make a file of at least `size_bytes`, and returns how many."""
    written = 0
    with path.open("wb") as file:
        while written < rows or file.tell() < size_bytes:
            count = min(CHUNK_ROWS, rows - written) if rows else CHUNK_ROWS
            options = pa_csv.WriteOptions(include_header=not written)
            pa_csv.write_csv(_chunk(written, count, columns), file, options)
            written += count
    return written


def _chunk(start: int, count: int, columns: int) -> pa.Table:
    random = np.random.default_rng(start)
    arrays: dict[str, Any] = {}
    while len(arrays) < columns:
        turn = len(arrays)
        arrays |= {f"{name}_{turn}": values for name, values in _arrays(random, start, count)}
    return pa.table(dict(list(arrays.items())[:columns]))


def _arrays(random: np.random.Generator, start: int, count: int) -> Iterator[tuple[str, Any]]:
    """33 columns: 20 measurements, 6 of whole numbers, 4 categories, a day, a flag and an id."""
    for at in range(20):
        yield f"measure_{at}", np.round(random.normal(0, 100, count), 4)
    for at, most in enumerate((10, 100, 1000, 10_000, 10**6, 10**9)):
        yield f"number_{at}", random.integers(0, most, count)
    for at, classes in enumerate((2, 10, 50, 500)):
        names = np.array([f"class {name}" for name in range(classes)])
        yield f"kind_{at}", names[random.integers(0, classes, count)]
    yield "day", pa.array((_FIRST_DAY + random.integers(0, 3650, count)).astype("datetime64[D]"))
    yield "flag", pa.array(random.integers(0, 2, count).astype(bool))
    yield "id", np.arange(start, start + count)
