"""A table of spooled text cells, whose types are found out as those of delimited text are."""

from collections.abc import Callable, Hashable, Iterator, Sequence

import pyarrow as pa

from scraper_server.tables.arrow import Array
from scraper_server.tables.cells import Reading, cleaned
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.inference import ColumnInference
from scraper_server.tables.names import unique_names
from scraper_server.tables.reader import BytesDone, plain_schema
from scraper_server.tables.refusals import empty
from scraper_server.tables.schema import Column, ColumnType, TableWarning
from scraper_server.tables.spool import Spool


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
            InvalidArgument: FILE_EMPTY if there is no row or no column.
        """
        if not spool.row_count or not columns:
            raise empty(name, "there is none with a value" if spool.row_count else "there is none")
        self._spool = spool
        self._size_bytes = size_bytes
        self._keys = [key for key, _ in columns]
        self.format = found
        self._names, renamed = unique_names([column for _, column in columns])
        self.warnings = (*renamed, *warnings)
        self.columns = tuple(Column(name, ColumnType.TEXT) for name in self._names)

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """See `TableReader.batches`. The spool is read twice, to find out types and then to read by them."""
        half = self._size_bytes // 2
        readings = self._readings(lambda share: done(int(share * half)))
        self.columns = tuple(Column(name, reading.type) for name, reading in zip(self._names, readings, strict=True))
        schema = plain_schema(self.columns)
        for block in self._cleaned(lambda share: done(int((1 + share) * half))):
            arrays = [reading.parse(cells) for reading, cells in zip(readings, block, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _readings(self, told: Callable[[float], None]) -> tuple[Reading, ...]:
        columns = [ColumnInference() for _ in self._names]
        for block in self._cleaned(told):
            for inference, cells in zip(columns, block, strict=True):
                inference.see(cells)
        return tuple(column.reading for column in columns)

    def _cleaned(self, told: Callable[[float], None]) -> Iterator[list[Array]]:
        for block in self._spool.blocks(self._keys, told):
            yield [cleaned(cells) for cells in block]
