"""Opens a file of any kind as a table: unwraps it, tells its kind, and picks the reader."""

from dataclasses import dataclass, replace
from pathlib import Path

from scraper_server.limits import Limits
from scraper_server.tables.delimited import DelimitedFile
from scraper_server.tables.detection import detect_kind
from scraper_server.tables.excel import excel_table
from scraper_server.tables.formats import Compression, FileFormat, FormatKind
from scraper_server.tables.images.reader import open_images
from scraper_server.tables.json_table import json_table
from scraper_server.tables.parquet import ParquetFile
from scraper_server.tables.reader import TableReader
from scraper_server.tables.refusals import not_a_table
from scraper_server.tables.sqlite import sqlite_table
from scraper_server.tables.stages import Stages
from scraper_server.tables.unwrapping import Unwrapped, unwrapped
from servicekit.errors import InvalidArgument, Reason

TEXT_KINDS = frozenset({FormatKind.DELIMITED, FormatKind.JSON, FormatKind.JSON_LINES})
KIND_NAMES = {
    FormatKind.DELIMITED: "delimited text",
    FormatKind.PARQUET: "Parquet",
    FormatKind.JSON: "JSON",
    FormatKind.JSON_LINES: "JSON lines",
    FormatKind.EXCEL: "a workbook",
    FormatKind.SQLITE: "an SQLite database",
    FormatKind.IMAGES: "images",
}


@dataclass(frozen=True)
class OpenTable:
    """A file's table, ready to be read."""

    reader: TableReader
    file: Unwrapped

    @property
    def format(self) -> FileFormat:
        """How the file is read. Complete after the last row."""
        return replace(self.reader.format, compression=self.file.compression, member=self.file.member)


def open_table(
    source: Path,
    name: str,
    wanted: FileFormat,
    members: tuple[str, ...],
    limits: Limits,
    directory: Path,
    stages: Stages,
) -> OpenTable:
    """Opens the file `source`, which its owner calls `name`, as `wanted` says and its content shows.

    `members` are patterns of what is wanted of an archive. `directory` is an empty folder for intermediate files, which
    the reader needs until it is done.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE, FILE_EMPTY; FILE_PART_NOT_FOUND, COLUMN_NOT_FOUND, INVALID_FIELD if it is not
            clear which part is meant (the message lists them), or one is named that such a file does not have;
            ARCHIVE_UNSAFE.
        ResourceExhausted: TOO_MANY_ROWS, TOO_MANY_COLUMNS, CELL_TOO_LARGE, TOO_MANY_ARCHIVE_ENTRIES, ARCHIVE_TOO_LARGE,
            ARCHIVE_TOO_DENSE.
    """

    def open_listing(path: Path, listing: str) -> TableReader:
        return _reader(Unwrapped(path, listing), replace(wanted, kind=FormatKind.DELIMITED), limits, directory, stages)

    images = open_images(source, name, wanted, members, limits, open_listing, directory)
    if images is not None:
        return OpenTable(images, Unwrapped(source, name, Compression.ZIP, images.format.member))
    done = stages.next(0.5, source.stat().st_size)
    file = unwrapped(source, name, wanted.member, members, limits.archive, directory, done)
    kind = _kind(file, wanted)
    return OpenTable(_reader(file, replace(wanted, kind=kind), limits, directory, stages), file)


def _kind(file: Unwrapped, wanted: FileFormat) -> FormatKind:
    """The kind that is asked for if the content can be read so, else the one that the content shows."""
    found = detect_kind(file.path, file.name)
    asked = wanted.kind or found
    if asked is not found and not {asked, found} <= TEXT_KINDS:
        why = f"it is {KIND_NAMES[found]}, not {KIND_NAMES[asked]}; leave format.kind out to have the kind detected"
        raise not_a_table(file.name, why)
    for part, value, kind in (("sheet", wanted.sheet, FormatKind.EXCEL), ("table", wanted.table, FormatKind.SQLITE)):
        if value and asked is not kind:
            message = (
                f"format.{part} '{value}' is for {KIND_NAMES[kind]}, and file '{file.name}' is {KIND_NAMES[asked]}"
            )
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"format.{part}")
    return asked


def _reader(file: Unwrapped, wanted: FileFormat, limits: Limits, directory: Path, stages: Stages) -> TableReader:
    match wanted.kind:
        case FormatKind.PARQUET:
            return ParquetFile(file.path, wanted, file.name, limits.table)
        case FormatKind.JSON | FormatKind.JSON_LINES:
            done = stages.next(0.5, file.path.stat().st_size)
            return json_table(file.path, file.name, wanted, limits.table, directory, done)
        case FormatKind.EXCEL:
            done = stages.next(0.5, file.path.stat().st_size)
            return excel_table(file.path, file.name, wanted, limits, directory, done)
        case FormatKind.SQLITE:
            done = stages.next(0.5, file.path.stat().st_size)
            return sqlite_table(file.path, file.name, wanted, limits.table, directory, done)
        case _:
            return DelimitedFile(file.path, wanted, file.name, limits.table)
