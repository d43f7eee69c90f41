"""A table of spooled text cells, whose types are found out as those of delimited text are."""

from collections.abc import Hashable, Iterator, Sequence

import pyarrow as pa

from scraper_server.tables.cells import cleaned
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.misfits import no_line
from scraper_server.tables.names import unique_names
from scraper_server.tables.reader import BytesDone
from scraper_server.tables.refusals import empty
from scraper_server.tables.schema import TableWarning
from scraper_server.tables.spool import Spool
from scraper_server.tables.typed_columns import TypedColumns


class TextTable:
    """The rows of a finished spool; the reader of each kind of file that has no types to be relied on."""

    def __init__(
        self,
        spool: Spool,
        columns: Sequence[tuple[Hashable, str]],
        found: FileFormat,
        name: str,
        size_bytes: int,
        warnings: Sequence[TableWarning] = (),
    ) -> None:
        """Takes the columns with these keys, called so by the file, of `size_bytes`, which messages call `name`.

        Raises:
            InvalidArgument: FILE_EMPTY if there is no row or no column; COLUMN_NOT_FOUND if the format names the type
                of a column that is not there.
        """
        if not spool.row_count or not columns:
            raise empty(name, "there is none with a value" if spool.row_count else "there is none")
        self._spool = spool
        self._size_bytes = size_bytes
        self._keys = [key for key, _ in columns]
        self.format = found
        names, renamed = unique_names([column for _, column in columns])
        self._columns = TypedColumns(names, found, name)
        self._other_warnings = (*renamed, *warnings)
        self.warnings = self._other_warnings
        self.columns = self._columns.columns

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """See `TableReader.batches`."""
        columns = self._columns
        row_count = 0
        for block in self._spool.blocks(self._keys, lambda share: done(int(share * self._size_bytes))):
            cells = [cleaned(each) for each in block]
            if not columns.is_learned:
                columns.learn(cells)
            if not row_count:
                columns.begin()
            batch = columns.take(columns.read(cells), row_count, no_line)
            row_count += len(cells[0])
            if batch:
                yield batch
        columns.end()
        self.columns = columns.columns
        self.warnings = (*self._other_warnings, *columns.warnings)
