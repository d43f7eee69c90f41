"""Predicts for the rows of a view's parts and writes them to a Parquet file, some thousands of rows at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml_server.batch_prediction.columns import OutputColumns
from ml_server.engines.engine import Outputs
from ml_server.features.columns import Columns
from ml_server.prediction.answers import answers_of
from ml_server.prediction.finite_features import finite_features
from ml_server.prediction.row_faults import RefusingPart
from ml_server.prediction.served_version import ServedVersion
from ml_server.views.part_files import PartFile, ahead
from ml_server.views.values import Part
from servicekit.disk import full_disk_told
from servicekit.errors import InvalidArgument, Reason

# Chunks of rows that are written at a time, of each column one after the other: a row group of the file.
GROUP_CHUNKS = 8
# Chunks that may wait while a row group is written.
WAITING = 4

Told = Callable[[int], None]


def write_predictions(
    parts: Mapping[Part, PartFile], served: ServedVersion, version: str, columns: OutputColumns, file: Path, told: Told
) -> None:
    """Writes the file, whole or not at all. `told` is called with the rows so far after each batch, and may raise.

    Raises:
        InvalidArgument: VALUE_INVALID: a row has a number that the version can't compute with or none where it needs
            one, which names column and row, or it gives no finite numbers for a row.
        ResourceExhausted: LIMIT_EXCEEDED: the disk is full.
    """
    staging = file.with_suffix(".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_told(remedy="make room on the disk of the ML service"):
        with _writer(staging, columns.schema) as writer:
            _write(parts, served, version, columns, writer, told)
        staging.rename(file)


def _writer(file: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Spends no time on what the only reader, an import, has no use for, or on what numbers seldom gain from."""
    texts: Any = [field.name for field in schema if field.type == pa.string()]  # the stubs know all or none
    compression: Any = {field.name: "none" if field.type == pa.float64() else "snappy" for field in schema}
    return pq.ParquetWriter(file, schema, compression=compression, use_dictionary=texts, write_statistics=False)


def _write(
    parts: Mapping[Part, PartFile],
    served: ServedVersion,
    version: str,
    columns: OutputColumns,
    writer: pq.ParquetWriter,
    told: Told,
) -> None:
    """Predicts here, while one thread reads, one makes features of what comes next, and one writes what is done."""

    group: list[pa.RecordBatch] = []

    def write_group() -> None:
        writer.write_table(pa.Table.from_batches(group, columns.schema))
        group.clear()

    def write(chunk: Columns, outputs: Outputs) -> None:
        group.append(columns.batch(chunk, answers_of(served.targets, outputs)))
        if len(group) == GROUP_CHUNKS:
            write_group()

    rows = 0
    writing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "parquet") as thread:
        for ready in ahead(_prepared(parts, served), "features"):
            outputs = served.run(ready.features)
            if not np.isfinite(outputs).all():
                raise _not_finite(version, ready, outputs)
            writing.append(thread.submit(write, ready.chunk, outputs))
            while len(writing) > WAITING:
                writing.popleft().result()
            rows += len(outputs)
            told(rows)
        for each in writing:
            each.result()
    write_group()


@dataclass(frozen=True)
class _Prepared:
    """Rows of a part with their features (N, layout.columns); the first of them has a number in the part."""

    part: Part
    first_row: int
    chunk: Columns
    features: NDArray[np.float32]


def _prepared(parts: Mapping[Part, PartFile], served: ServedVersion) -> Iterator[_Prepared]:
    """The rows of the parts, some at a time."""
    for part, file in parts.items():
        row = 0
        for chunk in file.chunks():
            features = finite_features(served.features, chunk, RefusingPart(part, row))
            yield _Prepared(part, row, chunk, features)
            row += len(features)


def _not_finite(version: str, rows: _Prepared, outputs: Outputs) -> InvalidArgument:
    row = rows.first_row + int(np.flatnonzero(~np.isfinite(outputs).all(axis=1))[0])
    message = (
        f"{version} gives no finite numbers for row {row} of the {rows.part} rows: name a view without values that are "
        "too large"
    )
    return InvalidArgument(Reason.VALUE_INVALID, message, row=str(row))
