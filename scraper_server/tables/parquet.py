"""Reads Parquet files of others, and writes ours."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from scraper_server.tables.arrow import Array, Field, kernels
from scraper_server.tables.cells import finite
from scraper_server.tables.formats import FileFormat, FormatKind
from scraper_server.tables.inference import StringKind
from scraper_server.tables.names import unique_names
from scraper_server.tables.reader import BytesDone, plain_schema
from scraper_server.tables.refusals import empty, not_a_table
from scraper_server.tables.schema import ARROW_TYPES, Column, ColumnType

BATCH_ROWS = 16_384
# Where a file of ours says whether its strings are categories or text, which Arrow's own types do not.
TYPES_KEY = "flare.types"


class ParquetFile:
    """Somebody's Parquet file, whose columns become one of the six types."""

    def __init__(self, path: Path, name: str) -> None:
        """Reads the footer of the file at `path`; `name` is what messages call it.

        Raises:
            InvalidArgument: FILE_NOT_A_TABLE if it is damaged, or a column holds lists, structures or bytes;
                FILE_EMPTY if it has no rows.
        """
        self._name = name
        self._size = path.stat().st_size
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise not_a_table(name, f"its Parquet footer can't be read; is it whole? ({error})") from error
        fields = list(self._file.schema_arrow)
        if not fields or not self._file.metadata.num_rows:
            raise empty(name, "its Parquet footer counts none")
        names, self.warnings = unique_names([field.name for field in fields])
        self.columns = tuple(Column(name, self._column_type(field)) for name, field in zip(names, fields, strict=True))
        self.format = FileFormat(FormatKind.PARQUET)

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """The rows. Which strings are categories is found out on the way.

        Raises:
            InvalidArgument: FILE_NOT_A_TABLE if a page is damaged, or a value does not fit its type.
        """
        schema = plain_schema(self.columns)
        kinds = {at: StringKind() for at, column in enumerate(self.columns) if column.type.is_string}
        for batch in self._batches(done):
            arrays = []
            for column, array in zip(self.columns, batch.columns, strict=True):
                try:
                    arrays.append(_converted(array, column.type))
                except pa.ArrowInvalid as error:
                    raise not_a_table(self._name, f"column '{column.name}': {error}") from error
            for at, kind in kinds.items():
                kind.see(arrays[at])
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        self.columns = tuple(
            replace(column, type=kinds[at].type) if at in kinds else column for at, column in enumerate(self.columns)
        )

    def _batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        rows = 0
        try:
            for batch in self._file.iter_batches(BATCH_ROWS):
                rows += len(batch)
                done(self._size * rows // self._file.metadata.num_rows)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise not_a_table(self._name, f"after row {rows}: {error}") from error

    def _column_type(self, field: Field) -> ColumnType:
        found = _column_type(field.type)
        if found is None:
            why = f"column '{field.name}' holds values of type {field.type}; leave it out or make plain columns of it"
            raise not_a_table(self._name, why)
        return found


class TableWriter:
    """Writes a table of ours: a row group for each batch, and the columns' types at the end.

    Floats and images are not dictionary coded: they rarely repeat, and their dictionaries cost more than they save. No
    statistics are written, since nobody looks for rows by their values, and footers of wide tables grow with them.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        plain = (pa.types.is_floating, pa.types.is_fixed_size_binary)
        coded: Any = [field.name for field in schema if not any(check(field.type) for check in plain)]
        self._writer = pq.ParquetWriter(path, schema, use_dictionary=coded, compression="zstd", write_statistics=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, rows: pa.RecordBatch) -> None:
        """Writes the next rows."""
        self._writer.write_batch(rows)

    def tell_types(self, columns: tuple[Column, ...]) -> None:
        """Writes what the schema does not say: which strings are categories. Readers know it after the last row."""
        self._writer.add_key_value_metadata({TYPES_KEY: json.dumps({each.name: each.type.value for each in columns})})


def _column_type(arrow_type: pa.DataType) -> ColumnType | None:
    kinds = pa.types
    if kinds.is_dictionary(arrow_type):
        return _column_type(arrow_type.value_type)
    if kinds.is_boolean(arrow_type):
        return ColumnType.BOOLEAN
    if kinds.is_integer(arrow_type):
        return ColumnType.INTEGER
    if kinds.is_floating(arrow_type) or kinds.is_decimal(arrow_type):
        return ColumnType.FLOAT
    if kinds.is_timestamp(arrow_type) or kinds.is_date(arrow_type):
        return ColumnType.DATETIME
    is_text = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_null)
    return ColumnType.TEXT if any(check(arrow_type) for check in is_text) else None


def _converted(array: Array, wanted: ColumnType) -> Array:
    """The values in one of the six types. Raises ArrowInvalid for one that does not fit."""
    if pa.types.is_dictionary(array.type):
        array = kernels.cast(array, array.type.value_type)
    if wanted is ColumnType.FLOAT:
        return finite(kernels.cast(array, pa.float64(), safe=False))
    if wanted is ColumnType.DATETIME and array.type != ARROW_TYPES[wanted]:
        # Parts of a microsecond go; a time without a zone is taken for UTC.
        zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
        naive = kernels.cast(array, pa.timestamp("us", tz="UTC") if zoned else pa.timestamp("us"), safe=False)
        return naive if zoned else kernels.assume_timezone(naive, "UTC")
    return kernels.cast(array, ARROW_TYPES[wanted])
