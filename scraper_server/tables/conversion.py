"""Turns a file into a table of ours: `table.parquet` in a folder, and what is known about it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scraper_server.limits import Limits
from scraper_server.tables.delimited import DelimitedFile
from scraper_server.tables.delimiters import detect_delimiter
from scraper_server.tables.encodings import as_utf8, detect_encoding
from scraper_server.tables.formats import FileFormat, FormatKind, detect_kind
from scraper_server.tables.parquet import ParquetFile
from scraper_server.tables.reader import TableReader
from scraper_server.tables.refusals import not_a_table
from scraper_server.tables.schema import Column, TableWarning
from scraper_server.tables.writing import write_rows
from servicekit.errors import InvalidArgument, Reason, ResourceExhausted

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

    written = write_rows(reader, name, limits.table, path, done)
    done(size)
    (directory / "utf8").unlink(missing_ok=True)
    width = len(reader.columns)
    columns, warnings = written.profile.described(
        reader.columns, lambda count: progress(ConversionPhase.PROFILING, size * count // width, size)
    )
    return ConvertedTable(
        digest=written.digest.hexdigest(reader.columns),
        row_count=written.row_count,
        size_bytes=path.stat().st_size,
        columns=columns,
        format=reader.format,
        warnings=(*reader.warnings, *warnings),
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
