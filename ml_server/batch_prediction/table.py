"""Predicts for the rows of a view's parts and writes them to a Parquet file, some thousands of rows at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml_server.batch_prediction.columns import OutputColumns
from ml_server.engines.engine import Outputs
from ml_server.features.columns import Columns, NumberColumn
from ml_server.prediction.answers import answers_of
from ml_server.prediction.served_version import ServedVersion
from ml_server.views.part_files import PartFile
from servicekit.disk import full_disk_told
from servicekit.errors import InvalidArgument, Reason

ROW_GROUP_ROWS = 131_072
# Batches that wait to be written, beside the one that is.
WAITING = 1

Told = Callable[[int], None]


def write_predictions(
    parts: Sequence[PartFile], served: ServedVersion, version: str, columns: OutputColumns, file: Path, told: Told
) -> None:
    """Writes the file, whole or not at all. `told` is called with the rows so far after each batch, and may raise.

    Raises:
        InvalidArgument: VALUE_INVALID: a row has no value where the version needs one, or gives no finite numbers.
        ResourceExhausted: LIMIT_EXCEEDED: the disk is full.
    """
    staging = file.with_suffix(".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_told(remedy="make room on the disk of the ML service"):
        repeating: Any = _texts(columns)  # the stubs know all or none
        with pq.ParquetWriter(staging, columns.schema, compression="snappy", use_dictionary=repeating) as writer:
            _write(parts, served, version, columns, writer, told)
        staging.rename(file)


def _write(
    parts: Sequence[PartFile],
    served: ServedVersion,
    version: str,
    columns: OutputColumns,
    writer: pq.ParquetWriter,
    told: Told,
) -> None:
    rows = 0
    group: list[pa.RecordBatch] = []
    grouped = 0
    # While one thread writes, this one predicts, and a third one reads.
    with ThreadPoolExecutor(1, "parquet") as thread:
        writing: list[Future[None]] = []

        def flush() -> None:
            nonlocal group, grouped
            writing.append(thread.submit(writer.write_table, pa.Table.from_batches(group), ROW_GROUP_ROWS))
            group, grouped = [], 0
            while len(writing) > WAITING:
                writing.pop(0).result()

        for part in parts:
            for chunk in part.chunks():
                outputs = served.run(served.features.transform(chunk))
                if not np.isfinite(outputs).all():
                    raise _not_finite(served, version, chunk, outputs, rows)
                group.append(columns.batch(chunk, answers_of(served.targets, outputs)))
                rows += len(outputs)
                grouped += len(outputs)
                if grouped >= ROW_GROUP_ROWS:
                    flush()
                told(rows)
        if group:
            flush()
        for each in writing:
            each.result()


def _texts(columns: OutputColumns) -> list[str]:
    """Columns whose values repeat. Numbers seldom do, and to look for it costs more than all else."""
    return [field.name for field in columns.schema if field.type == pa.string()]


def _not_finite(served: ServedVersion, version: str, chunk: Columns, outputs: Outputs, before: int) -> InvalidArgument:
    row = int(np.flatnonzero(~np.isfinite(outputs).all(axis=1))[0])
    for column in served.features.columns:
        values = chunk[column.name]
        if not column.accepts_missing and isinstance(values, NumberColumn) and np.isnan(values.values[row]):
            message = (
                f"column '{column.name}' has no value in row {before + row}, and no row had it missing when {version} "
                "was trained: name a view that fills missing values or drops their rows"
            )
            return InvalidArgument(Reason.VALUE_INVALID, message, column=column.name)
    message = f"{version} gives no finite numbers for row {before + row}: leave out rows with values that are too large"
    return InvalidArgument(Reason.VALUE_INVALID, message)
