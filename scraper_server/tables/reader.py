"""The port through which every kind of file becomes rows."""

from collections.abc import Callable, Iterator
from typing import Protocol

import pyarrow as pa

from scraper_server.tables.formats import FileFormat
from scraper_server.tables.schema import Column, TableWarning

BytesDone = Callable[[int], None]
"""Called with the bytes of the file that are done with, of as many as the file has; never with fewer than before."""


class Misread(Exception):  # no fault of anybody's: the next reading is right
    """Rows were read in a way that later ones do not bear out. Drop them all, and ask for `batches` anew."""


class TableReader(Protocol):
    """A file as a table, opened: its header is known to be one."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and types. A TEXT may turn CATEGORICAL at the last row, which also completes `type_fits`."""

    @property
    def warnings(self) -> tuple[TableWarning, ...]:
        """What a careful reader of the file would want to know. Complete after the last row."""

    @property
    def format(self) -> FileFormat:
        """How the file is read, as asked for and as found. Complete after the last row."""

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """All rows in order, in batches of any size of one schema: the names and Arrow types of `columns`.

        Raises:
            Misread: The rows so far are to be dropped; call again, which happens two or three times at most.
            InvalidArgument: FILE_NOT_A_TABLE or FILE_EMPTY, with the place in the file.
            ResourceExhausted: CELL_TOO_LARGE.
        """


def plain_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The schema of a reader's batches."""
    return pa.schema([pa.field(column.name, column.arrow_type) for column in columns])
