"""Turns a file into a table of ours: `table.parquet` in a folder, and what is known about it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scraper_server.limits import Limits
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.opening import open_table
from scraper_server.tables.refusals import too_many_columns
from scraper_server.tables.schema import Column, TableWarning
from scraper_server.tables.stages import Stages
from scraper_server.tables.writing import write_rows

TABLE_FILE = "table.parquet"


class ConversionPhase(StrEnum):
    """What a conversion is doing."""

    CONVERTING = "converting"
    PROFILING = "profiling"


PhaseProgress = Callable[[ConversionPhase, int, int], None]


@dataclass(frozen=True)
class ConvertedTable:
    """What is known about a table that was written."""

    digest: str
    row_count: int
    size_bytes: int
    columns: tuple[Column, ...]
    format: FileFormat
    warnings: tuple[TableWarning, ...]


def convert(
    source: Path,
    name: str,
    wanted: FileFormat,
    limits: Limits,
    directory: Path,
    progress: PhaseProgress,
    members: tuple[str, ...] = (),
) -> ConvertedTable:
    """Reads the file `source`, which its owner calls `name`, and writes `table.parquet` into `directory`.

    `progress` takes a phase with its bytes done and in all. `directory` is an empty folder; intermediate files are
    removed from it. `members` are patterns of what is wanted of `source`, an archive; without any it is all of it.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE or FILE_EMPTY, with the place in the file; and what `open_table` raises.
        ResourceExhausted: TOO_MANY_ROWS, TOO_MANY_COLUMNS, CELL_TOO_LARGE; and what `open_table` raises.
    """
    size = source.stat().st_size
    stages = Stages(size, lambda count: progress(ConversionPhase.CONVERTING, count, size))
    workspace = directory / "workspace"
    workspace.mkdir()
    table = open_table(source, name, wanted, members, limits, workspace, stages)
    reader = table.reader
    if len(reader.columns) > limits.table.max_columns:
        raise too_many_columns(name, limits.table.max_columns)
    path = directory / TABLE_FILE
    done = stages.next(1, table.file.path.stat().st_size)
    written = write_rows(reader, name, limits.table, path, done)
    done(table.file.path.stat().st_size)
    shutil.rmtree(workspace)
    width = len(reader.columns)
    columns, warnings = written.profile.described(
        reader.columns, lambda count: progress(ConversionPhase.PROFILING, size * count // width, size)
    )
    return ConvertedTable(
        digest=written.digest.hexdigest(reader.columns),
        row_count=written.row_count,
        size_bytes=path.stat().st_size,
        columns=columns,
        format=table.format,
        warnings=(*reader.warnings, *warnings),
    )
