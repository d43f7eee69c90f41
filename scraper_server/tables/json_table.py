"""Reads JSON and JSON lines."""

from collections.abc import Iterator
from pathlib import Path

from scraper_server.limits import TableLimits
from scraper_server.tables.encodings import as_utf8, detect_encoding
from scraper_server.tables.formats import FileFormat, FormatKind
from scraper_server.tables.json_rows import json_line_rows, json_rows
from scraper_server.tables.reader import BytesDone
from scraper_server.tables.spool import Spool, cell_text
from scraper_server.tables.text_table import TextTable


def json_table(
    path: Path, name: str, wanted: FileFormat, limits: TableLimits, directory: Path, done: BytesDone
) -> TextTable:
    """The table in a file of JSON or, as `wanted.kind` says, JSON lines; `directory` is for intermediate files.

    Each key of an object is a column, also one that comes up late; objects in it become columns like `a.b`, and lists
    their JSON text.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE, FILE_EMPTY.
        ResourceExhausted: TOO_MANY_ROWS, TOO_MANY_COLUMNS, CELL_TOO_LARGE.
    """
    encoding = wanted.encoding or detect_encoding(path, name)
    text = as_utf8(path, encoding, name, directory)
    rows = json_line_rows if wanted.kind is FormatKind.JSON_LINES else json_rows
    spool = Spool(directory / "spool", name, limits)
    for row in rows(text, name, done):
        spool.add({key: cell_text(value) for key, value in row.items()})
    spool.finish()
    found = FileFormat(wanted.kind, encoding=encoding, column_types=wanted.column_types)
    return TextTable(spool, list(_columns(spool)), found, name, text.stat().st_size)


def _columns(spool: Spool) -> Iterator[tuple[str, str]]:
    """All columns but those without a value that stand for objects which have columns of their own."""
    names = [str(key) for key in spool.keys]
    objects = {name[:at] for name in names for at, character in enumerate(name) if character == "."}
    for name in names:
        if spool.is_filled(name) or name not in objects:
            yield name, name
