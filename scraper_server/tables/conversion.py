"""Turns a file into a table of ours: `table.parquet` in a folder, and what is known about it."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scraper_server.limits import Limits
from scraper_server.tables.arrow import Array, concatenated, plain
from scraper_server.tables.delimited import DelimitedFile
from scraper_server.tables.delimiters import detect_delimiter
from scraper_server.tables.digests import TableDigest
from scraper_server.tables.encodings import as_utf8, detect_encoding
from scraper_server.tables.formats import FileFormat, FormatKind, detect_kind
from scraper_server.tables.parquet import ParquetFile, write_table
from scraper_server.tables.reader import Misread, TableReader
from scraper_server.tables.refusals import not_a_table
from scraper_server.tables.schema import Column, TableWarning
from scraper_server.tables.statistics import column_statistics, column_warnings
from servicekit.errors import InvalidArgument, Reason, ResourceExhausted

TABLE_FILE = "table.parquet"
# Row groups of the stored table: their size depends on the number of columns alone, so equal tables get equal digests.
GROUP_ROWS = 65_536
GROUP_CELLS = 4_000_000


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
        InvalidArgument: FILE_NOT_A_TABLE or FILE_EMPTY, with the place in the file.
        ResourceExhausted: TOO_MANY_COLUMNS.
    """
    if members:
        raise not_a_table(name, "an archive, of which no members can be taken")
    reader = _opened(source, name, wanted, directory)
    if len(reader.columns) > limits.table.max_columns:
        message = f"file '{name}' has {len(reader.columns)} columns, more than the {limits.table.max_columns} that "
        message += "this server takes (FLARE_SCRAPER_MAX_COLUMNS)"
        raise ResourceExhausted(Reason.TOO_MANY_COLUMNS, message, file=name)
    size = source.stat().st_size
    path = directory / TABLE_FILE
    furthest = 0

    def done(count: int) -> None:
        nonlocal furthest
        furthest = max(furthest, min(count, size))
        progress(ConversionPhase.CONVERTING, furthest, size)

    while True:
        try:
            digest = TableDigest()
            write_table(_hashed(_regrouped(reader.batches(done), len(reader.columns)), digest), path, reader)
            break
        except Misread:
            continue
    done(size)
    (directory / "utf8").unlink(missing_ok=True)
    profiled = tuple(_profiled(path, reader.columns, progress))
    seen = tuple(warning for column in profiled for warning in column_warnings(column))
    return ConvertedTable(
        digest=digest.hexdigest(reader.columns),
        row_count=pq.read_metadata(path).num_rows,
        size_bytes=path.stat().st_size,
        columns=profiled,
        format=reader.format,
        warnings=(*reader.warnings, *seen),
    )


def _opened(source: Path, name: str, wanted: FileFormat, directory: Path) -> TableReader:
    kind = detect_kind(source, name)
    if kind is FormatKind.PARQUET and wanted.kind is not FormatKind.DELIMITED:
        return ParquetFile(source, name)
    if wanted.kind is FormatKind.PARQUET:
        message = f"file '{name}' is not Parquet: leave format.kind out to have the format detected"
        raise InvalidArgument(Reason.FILE_NOT_A_TABLE, message, file=name)
    if kind is FormatKind.PARQUET:
        message = f"file '{name}' is Parquet, not delimited text: leave format.kind out to have the format detected"
        raise InvalidArgument(Reason.FILE_NOT_A_TABLE, message, file=name)
    encoding = wanted.encoding or detect_encoding(source, name)
    text = as_utf8(source, encoding, name, directory)
    found = FileFormat(FormatKind.DELIMITED, wanted.delimiter or detect_delimiter(text), encoding)
    return DelimitedFile(text, found, name)


def _regrouped(batches: Iterator[pa.RecordBatch], width: int) -> Iterator[pa.RecordBatch]:
    """The same rows in groups of a fixed size."""
    group_rows = max(1, min(GROUP_ROWS, GROUP_CELLS // width))
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        offset = 0
        while count + len(batch) - offset >= group_rows:
            taken = group_rows - count
            yield concatenated([*waiting, batch.slice(offset, taken)])
            offset += taken
            waiting, count = [], 0
        if offset < len(batch):
            waiting.append(batch.slice(offset))
            count += len(batch) - offset
    if waiting:
        yield concatenated(waiting)


def _hashed(batches: Iterator[pa.RecordBatch], digest: TableDigest) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        digest.add(batch)
        yield batch


def _profiled(path: Path, columns: tuple[Column, ...], progress: PhaseProgress) -> Iterator[Column]:
    """The columns with their statistics. One column is in memory at a time."""
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        sizes = [sum(group.column(at).total_compressed_size for group in groups) for at in range(len(columns))]
        for at, done in enumerate(itertools.accumulate(sizes)):
            column = columns[at]
            values = _column(file, at)
            yield replace(column, statistics=column_statistics(column.type, values, len(columns)))
            progress(ConversionPhase.PROFILING, done, sum(sizes))


def _column(file: pq.ParquetFile, position: int) -> Array:
    # By position, not by name: Parquet reads the dots of a name as a path.
    return plain(file.reader.read_column(position))
