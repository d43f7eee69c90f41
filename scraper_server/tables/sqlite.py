"""Reads a table of an SQLite database, which is opened read-only and trusted in nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from scraper_server.limits import TableLimits
from scraper_server.tables.formats import FileFormat, FormatKind
from scraper_server.tables.reader import BytesDone
from scraper_server.tables.refusals import cell_too_large, empty, not_a_table
from scraper_server.tables.schema import TableWarning, WarningKind
from scraper_server.tables.spool import Spool, cell_text
from scraper_server.tables.text_table import TextTable
from servicekit.errors import FlareError, InvalidArgument, Reason

LISTED_TABLES = 30
TOLD_ROWS = 1000
# A view may compute for ever. It gets so many steps of SQLite's machine, which take some minutes, for each row.
STEPS_A_CALL = 1_000_000
MOST_CALLS_A_ROW = 10_000
BLOB_BYTES = 64 << 20


class _Database:
    """The database of a file, as messages call it by `name`."""

    def __init__(self, path: Path, name: str) -> None:
        # Immutable: no lock, no journal and nothing beside the file is looked at, whatever its header says.
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self._name = name
        self._calls = 0
        self._connection.text_factory = lambda text: text.decode("utf-8", "replace")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BLOB_BYTES)
        self._connection.set_progress_handler(self._go_on, STEPS_A_CALL)
        for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON", "mmap_size = 0"):
            self._connection.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        self._connection.close()

    def tables(self) -> tuple[list[str], list[str]]:
        """The names of its tables, and of its views."""
        found = self._connection.execute(
            "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' ORDER BY rowid"
        ).fetchall()
        return [name for name, kind in found if kind == "table"], [name for name, kind in found if kind == "view"]

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""
        cursor = self._connection.execute(f"SELECT * FROM {_quoted(table)} LIMIT 0")  # noqa: S608  # quoted
        return [column[0] for column in cursor.description]

    def last_row_id(self, table: str) -> int:
        """About how many rows a table has; 0 if it has no row ids, as a view."""
        try:
            query = f"SELECT max(rowid) FROM {_quoted(table)}"  # noqa: S608  # quoted
            return int(self._connection.execute(query).fetchone()[0] or 0)
        except sqlite3.OperationalError:
            return 0

    def rows(self, table: str) -> Iterator[tuple[object, ...]]:
        """The rows of a table."""
        for row in self._connection.execute(f"SELECT * FROM {_quoted(table)}"):  # noqa: S608  # quoted
            self._calls = 0
            yield row

    def _go_on(self) -> int:
        self._calls += 1
        return self._calls > MOST_CALLS_A_ROW


def sqlite_table(
    path: Path, name: str, wanted: FileFormat, limits: TableLimits, directory: Path, done: BytesDone
) -> TextTable:
    """The table or view `wanted.table` of a database, or its only table.

    A type of a column is found out from its values, since SQLite holds columns to none. Bytes are left out.

    Raises:
        InvalidArgument: FILE_PART_NOT_FOUND; INVALID_FIELD if it has several tables and none is named (the message
            lists them); FILE_NOT_A_TABLE if it is damaged; FILE_EMPTY.
        ResourceExhausted: TOO_MANY_ROWS, TOO_MANY_COLUMNS, CELL_TOO_LARGE.
    """
    spool = Spool(directory / "spool", name, limits)
    size, row_number = path.stat().st_size, 0
    try:
        with closing(_Database(path, name)) as database:
            table = _chosen_table(database, wanted.table, name)
            columns = database.columns(table)
            spool.declare(range(len(columns)))
            blobs = [0] * len(columns)
            last_row_id = database.last_row_id(table)
            for row_number, row in enumerate(database.rows(table)):
                for at, value in enumerate(row):
                    blobs[at] += isinstance(value, bytes)
                spool.add({at: None if isinstance(value, bytes) else cell_text(value) for at, value in enumerate(row)})
                if row_number % TOLD_ROWS == 0 and last_row_id > 0:
                    done(size * row_number // last_row_id)
    except sqlite3.Error as error:
        raise _refusal(error, name, limits, row_number) from error
    except UnicodeDecodeError as error:  # the library reads names of columns so, whatever is said of texts
        raise not_a_table(name, "a column of its database has a name that is not UTF-8") from error
    spool.finish()
    kept = [at for at in range(len(columns)) if spool.is_filled(at) or not blobs[at]]
    warnings = [_blob_warning(columns[at], blobs[at], is_kept=at in kept) for at in range(len(columns)) if blobs[at]]
    found = FileFormat(FormatKind.SQLITE, table=table, column_types=wanted.column_types)
    return TextTable(spool, [(at, columns[at]) for at in kept], found, name, size, warnings)


def _chosen_table(database: _Database, wanted: str, name: str) -> str:
    tables, views = database.tables()
    everything = [*tables, *views]
    listed = ", ".join(f"'{each}'" for each in everything[:LISTED_TABLES])
    if wanted:
        same = [each for each in everything if each == wanted] or [
            each for each in everything if each.lower() == wanted.lower()
        ]
        if same:
            return same[0]
        message = f"database '{name}' has no table '{wanted}'; it has {listed or 'none'}"
        raise InvalidArgument(Reason.FILE_PART_NOT_FOUND, message, field="format.table")
    for found in (tables, views):
        if len(found) == 1:
            return found[0]
        if found:
            message = f"database '{name}' has {len(found)} tables, so name one in format.table: {listed}"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="format.table")
    raise empty(name, "its database has no table")


def _refusal(error: sqlite3.Error, name: str, limits: TableLimits, row: int) -> FlareError:
    if isinstance(error, sqlite3.DataError) and "too big" in str(error):
        return cell_too_large(name, f"of some column in row {row}", min(BLOB_BYTES, limits.max_cell_bytes))
    if "interrupted" in str(error):
        return not_a_table(name, f"a view of its database computes row {row} without end")
    return not_a_table(name, f"its database can't be read after row {row}: {error}")


def _blob_warning(column: str, count: int, *, is_kept: bool) -> TableWarning:
    if is_kept:
        message = f"column '{column}': {count} cells hold bytes and not text, and are missing"
        return TableWarning(WarningKind.CELLS_MISFIT, column, message, count)
    return TableWarning(WarningKind.COLUMN_LEFT_OUT, column, f"column '{column}' holds bytes and was left out", count)


def _quoted(table: str) -> str:
    return '"' + table.replace('"', '""') + '"'
