"""Reads Parquet files of others, and writes ours."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from scraper_server.limits import TableLimits
from scraper_server.tables.arrow import Array, Field, kernels, reductions
from scraper_server.tables.cells import finite
from scraper_server.tables.choices import chosen_types
from scraper_server.tables.converting import can_become, converted
from scraper_server.tables.formats import FileFormat, FormatKind
from scraper_server.tables.inference import StringKind
from scraper_server.tables.misfits import Misfits, MisfitTally, missing_by_choice, no_line
from scraper_server.tables.names import unique_names
from scraper_server.tables.reader import BytesDone, Misread, plain_schema
from scraper_server.tables.refusals import cell_too_large, empty, not_a_table
from scraper_server.tables.schema import ARROW_TYPES, Column, ColumnType, TableWarning, WarningKind
from servicekit.errors import InvalidArgument, Reason

BATCH_ROWS = 16_384
# Where a file of ours says whether its strings are categories or text, which Arrow's own types do not.
TYPES_KEY = "flare.types"


class ParquetFile:
    """Somebody's Parquet file, whose columns become one of the six types. Nested columns are left out."""

    def __init__(self, path: Path, wanted: FileFormat, name: str, limits: TableLimits) -> None:
        """Reads the footer of the file at `path`; `name` is what messages call it.

        Raises:
            InvalidArgument: FILE_NOT_A_TABLE if it is damaged, or no column can be taken; FILE_EMPTY without rows;
                COLUMN_NOT_FOUND or INVALID_FIELD if the format chooses a type for a column that is not taken, or that
                its values can't become.
        """
        self._name = name
        self._limits = limits
        self._size = path.stat().st_size
        try:
            self._file = pq.ParquetFile(path)
            fields = list(self._file.schema_arrow)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise not_a_table(name, f"its Parquet footer can't be read; is it whole? ({error})") from error
        if not fields or not self._file.metadata.num_rows:
            raise empty(name, "its Parquet footer counts none")
        names, renamed = unique_names([field.name for field in fields])
        self._columns = [
            _Column(field.type, leaf, name, found)
            for field, leaf, name in zip(fields, _first_leaves(fields), names, strict=True)
            if (found := _column_type(field.type)) is not None
        ]
        taken = {column.name for column in self._columns}
        self._left_out = [
            _left_out(name, f"holds values of type {field.type}")
            for name, field in zip(names, fields, strict=True)
            if name not in taken
        ]
        self._renamed = [warning for warning in renamed if warning.column in taken]
        self._check_some_left()
        self._chosen = chosen_types(wanted, [column.name for column in self._columns], name)
        sources = {column.name: column.type for column in self._columns}
        for position, (column, kind) in enumerate(wanted.column_types):
            _check_choice(position, column, sources[column], kind)
        self._misfits: tuple[TableWarning, ...] = ()
        self.format = FileFormat(FormatKind.PARQUET, column_types=wanted.column_types)
        self.columns = self._described()

    @property
    def warnings(self) -> tuple[TableWarning, ...]:
        """See `TableReader.warnings`."""
        return (*self._renamed, *self._left_out, *self._misfits)

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """The rows. Which strings are categories is found out on the way.

        Raises:
            Misread: A value does not fit what its column promised: it is text instead, or is left out.
            InvalidArgument: FILE_NOT_A_TABLE if a page is damaged, or a value does not fit its type.
            ResourceExhausted: CELL_TOO_LARGE.
        """
        self.columns = self._described()
        schema = plain_schema(self.columns)
        kinds = {at: StringKind() for at, column in enumerate(self.columns) if column.type.is_string}
        tallies = {at: MisfitTally() for at, column in enumerate(self._columns) if column.name in self._chosen}
        counts = dict.fromkeys(tallies, 0)
        first_row = 0
        for batch in self._batches(done):
            arrays = [self._read(column, array) for column, array in zip(self._columns, batch.columns, strict=True)]
            for at, tally in tallies.items():
                cells = converted(arrays[at], self._columns[at].type, self.columns[at].type)
                tally.add(Misfits.among(arrays[at], cells.misfits), first_row, no_line)
                counts[at] += len(arrays[at]) - arrays[at].null_count
                arrays[at] = cells.values
            for at, kind in kinds.items():
                self._check_cells(self._columns[at], arrays[at], first_row)
                kind.see(arrays[at])
            first_row += len(batch)
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        fits = {at: tally.fit(self.columns[at].type, counts[at]) for at, tally in tallies.items()}
        told = (missing_by_choice(self.columns[at].name, fit, counts[at]) for at, fit in fits.items())
        self._misfits = tuple(warning for each in told for warning in each)
        found = {at: kind.type for at, kind in kinds.items() if at not in tallies}
        self.columns = tuple(
            replace(column, type=found.get(at, column.type), type_fits=(fits[at],) if at in fits else ())
            for at, column in enumerate(self.columns)
        )

    def _described(self) -> tuple[Column, ...]:
        return tuple(Column(column.name, self._chosen.get(column.name, column.type)) for column in self._columns)

    def _batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        rows = 0
        leaves = [column.leaf for column in self._columns]  # by position: Parquet reads the dots of a name as a path
        groups = list(range(self._file.metadata.num_row_groups))
        try:
            for batch in self._file.reader.iter_batches(BATCH_ROWS, groups, column_indices=leaves):
                rows += len(batch)
                done(self._size * rows // self._file.metadata.num_rows)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise not_a_table(self._name, f"after row {rows}: {error}") from error

    def _read(self, column: "_Column", array: Array) -> Array:
        try:
            return _converted(array, column.type)
        except pa.ArrowInvalid as error:
            if pa.types.is_uint64(array.type) and column.type is ColumnType.INTEGER:
                column.type = ColumnType.TEXT  # numbers beyond 64 bits with a sign are identifiers
                raise Misread from error
            if _is_binary(array.type):
                self._columns.remove(column)
                self._left_out.append(_left_out(column.name, "holds bytes that are no text"))
                self._check_some_left()
                raise Misread from error
            raise not_a_table(self._name, f"column '{column.name}': {error}") from error

    def _check_cells(self, column: "_Column", strings: Array, first_row: int) -> None:
        sizes = kernels.binary_length(strings)
        if (reductions.max(sizes).as_py() or 0) > self._limits.max_cell_bytes:
            row = first_row + int(reductions.index(kernels.greater(sizes, self._limits.max_cell_bytes), True).as_py())
            which = f"of column '{column.name}' in row {row}"
            raise cell_too_large(self._name, which, self._limits.max_cell_bytes)

    def _check_some_left(self) -> None:
        if not self._columns:
            why = "; ".join(warning.message for warning in self._left_out[:5])
            raise not_a_table(self._name, f"no column is left: {why}")


def _check_choice(position: int, column: str, source: ColumnType, wanted: ColumnType) -> None:
    if not can_become(source, wanted):
        message = f"column '{column}' is {source.value}, which can't become {wanted.value}: leave out its type"
        field = f"format.column_types[{position}].type"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field=field, column=column)


@dataclass
class _Column:
    """A column that is taken: its type in the file, the position of its values there, and what it becomes."""

    arrow_type: pa.DataType
    leaf: int
    name: str
    type: ColumnType


def _first_leaves(fields: Sequence[Field]) -> Sequence[int]:
    """Where the values of each field begin among all plain columns that Parquet makes of nested ones."""
    ends = list(itertools.accumulate(_leaf_count(field.type) for field in fields))
    return [0, *ends[:-1]]


def _leaf_count(arrow_type: pa.DataType) -> int:
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _leaf_count(arrow_type.storage_type)
    if pa.types.is_dictionary(arrow_type) or not arrow_type.num_fields:
        return 1
    return sum(_leaf_count(arrow_type.field(at).type) for at in range(arrow_type.num_fields))


def _left_out(column: str, why: str) -> TableWarning:
    return TableWarning(WarningKind.COLUMN_LEFT_OUT, column, f"column '{column}' {why} and was left out")


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
    """What a column of an Arrow type becomes; None if it is left out."""
    kinds = pa.types
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _column_type(arrow_type.storage_type)
    if kinds.is_dictionary(arrow_type):
        return _column_type(arrow_type.value_type)
    if kinds.is_boolean(arrow_type):
        return ColumnType.BOOLEAN
    if kinds.is_integer(arrow_type):
        return ColumnType.INTEGER
    if kinds.is_floating(arrow_type) or kinds.is_decimal(arrow_type) or kinds.is_duration(arrow_type):
        return ColumnType.FLOAT
    if kinds.is_timestamp(arrow_type) or kinds.is_date(arrow_type):
        return ColumnType.DATETIME
    # Some writers do not mark their strings as such, and they look like bytes.
    is_text = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_null, kinds.is_time, _is_binary)
    return ColumnType.TEXT if any(check(arrow_type) for check in is_text) else None


def _is_binary(arrow_type: pa.DataType) -> bool:
    kinds = pa.types
    return kinds.is_binary(arrow_type) or kinds.is_large_binary(arrow_type) or kinds.is_binary_view(arrow_type)


def _converted(array: Array, wanted: ColumnType) -> Array:
    """The values in one of the six types. Raises ArrowInvalid for one that does not fit."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = kernels.cast(array, array.type.value_type)
    if pa.types.is_time(array.type):
        return kernels.replace_substring_regex(kernels.cast(array, pa.string()), r"\.0+$", "")
    if pa.types.is_duration(array.type):
        seconds = kernels.cast(kernels.cast(array, pa.duration("us"), safe=False), pa.int64())
        return kernels.divide(kernels.cast(seconds, pa.float64(), safe=False), 1e6)
    if wanted is ColumnType.FLOAT:
        return finite(kernels.cast(array, pa.float64(), safe=False))
    if wanted is ColumnType.DATETIME and array.type != ARROW_TYPES[wanted]:
        # Parts of a microsecond go; a time without a zone is taken for UTC.
        zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
        naive = kernels.cast(array, pa.timestamp("us", tz="UTC") if zoned else pa.timestamp("us"), safe=False)
        return naive if zoned else kernels.assume_timezone(naive, "UTC")
    return kernels.cast(array, ARROW_TYPES[wanted])
