"""Computes a view: which rows are in which part, what their missing values become, and the files of the parts."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scraper_server.tables.arrow import Array, Scalar, kernels, plain, reductions, whole
from scraper_server.tables.conversion import ConvertedTable
from scraper_server.tables.schema import Column, ColumnType, TableWarning, arrow_schema
from scraper_server.tables.statistics.warnings import summarized
from scraper_server.views.advice import (
    constant_warnings,
    future_warnings,
    id_warnings,
    leak_warnings,
    rare_class_warnings,
    shared_row_warnings,
)
from scraper_server.views.batches import BatchWriter
from scraper_server.views.casting import Cast, cast_failed, cast_for, needs_values, plain_cast
from scraper_server.views.digests import view_digest
from scraper_server.views.filling import fill_text, given_fill, learned_fill
from scraper_server.views.observing import RowObserver
from scraper_server.views.resolution import (
    PlannedColumn,
    finished_column,
    fractions_of,
    planned_columns,
    split_column,
    split_field,
)
from scraper_server.views.spec import (
    PARTS,
    BadCells,
    ColumnRole,
    MissingPolicy,
    ResolvedView,
    SplitMethod,
    ViewColumn,
    ViewSpec,
)
from scraper_server.views.splits import LEFT_OUT, TRAIN, Parts, parts_of
from scraper_server.views.weights import bad_weights, check_any_weight, check_fill, weights_refused
from servicekit.errors import InvalidArgument, Reason

READ_ROWS = 65_536
READ_BYTES = 32 << 20
CATEGORY_TYPES = (ColumnType.BOOLEAN, ColumnType.CATEGORICAL, ColumnType.TEXT)

Mask = npt.NDArray[np.bool_]


def part_file(directory: Path, part: str) -> Path:
    """Where a part's rows lie in a view's folder."""
    return directory / f"{part}.arrow"


def make_view(table: Path, known: ConvertedTable, spec: ViewSpec, directory: Path | None) -> ResolvedView:
    """Computes the view of the table at `table`, of which so much is known, and writes a file for each part into
    `directory`.

    Without a `directory` it only checks: cells that do not fit a cast are then no error, but told. The split is
    decided first, on all rows; then rows leave for missing values; then fillings are learned from the training rows
    that remain.

    Raises:
        InvalidArgument: Whatever can't work, with the path of the field in the view and the first row that shows it.
    """
    planned = planned_columns(spec, known.columns)
    with pq.ParquetFile(table, memory_map=False, pre_buffer=False) as file:
        making = _Making(file, known.columns, planned)
        bad_cells = making.check_values(tolerant=directory is None)
        parts = making.split(spec)
        keep = (parts != LEFT_OUT) & ~making.dropped
        _check_parts(spec, parts, keep)
        making.check_nothing_missing(keep)
        training = keep & (parts == TRAIN)
        making.learn(training)
        making.check_weights(training)
        left = np.where(keep, parts, np.int8(LEFT_OUT))
        observer = RowObserver(making.view_columns, len(parts))
        making.write(directory, left, observer)
        warnings = (
            *constant_warnings(observer),
            *id_warnings(making.view_columns, known.warnings),
            *leak_warnings(making.view_columns, observer),
            *rare_class_warnings(making.view_columns, observer),
            *shared_row_warnings(observer),
            *making.future_warnings(spec.split.method, left),
        )
    return ResolvedView(
        columns=making.view_columns,
        row_counts=_counts(parts[keep]),
        dropped_row_count=int(((parts != LEFT_OUT) & making.dropped).sum()),
        digest=view_digest(known.digest, making.view_columns, spec),
        warnings=summarized(list(warnings)),
        bad_cells=bad_cells,
    )


class _Making:
    """A view in the making: what was found out about each column so far."""

    def __init__(self, file: pq.ParquetFile, columns: tuple[Column, ...], planned: tuple[PlannedColumn, ...]) -> None:
        self._file = file
        self._columns = columns
        self._planned = planned
        self._positions = {column.name: at for at, column in enumerate(columns)}
        self._row_count: int = file.metadata.num_rows
        self._casts: list[Cast] = []
        self._fills: list[Scalar | None] = [given_fill(each) for each in planned]
        self._category_counts = [0] * len(planned)
        # Columns with cells that do not fit, of a view that is only checked: their author is told of those first.
        self._unfit: set[str] = set()
        self.dropped: Mask = np.zeros(self._row_count, np.bool_)

    @property
    def view_columns(self) -> tuple[ViewColumn, ...]:
        """The columns with their fillings."""
        return tuple(
            finished_column(each, None if fill is None else fill_text(fill), count)
            for each, fill, count in zip(self._planned, self._fills, self._category_counts, strict=True)
        )

    def check_values(self, *, tolerant: bool) -> tuple[BadCells, ...]:
        """Casts every column, and notes the rows that leave. Returns the cells that do not fit if it is `tolerant`.

        Raises TARGET_ALL_MISSING, CAST_FAILED for cells that do not fit, and WEIGHTS_INVALID for weights that are none.
        """
        found: list[BadCells] = []
        for each in self._planned:
            name = each.column.source_column
            if needs_values(each):
                values = self._values(name)
                cast, bad = cast_for(each, values)
                missing = _missing(values)
                if bad is not None:
                    if not tolerant:
                        raise cast_failed(bad, len(values) - values.null_count)
                    found.append(bad)
                    self._unfit.add(name)
            else:
                cast, missing = plain_cast(each), self._missing(name)
            self._casts.append(cast)
            if each.column.role is ColumnRole.TARGET and missing.all():
                message = f"target '{name}' has no value in any of the {len(missing)} rows: choose another target"
                raise InvalidArgument(Reason.TARGET_ALL_MISSING, message, field=each.field, column=name)
            if each.column.role is ColumnRole.WEIGHT:
                weights = cast(self._values(name))
                no_weights = bad_weights(each, weights)
                if no_weights is not None:
                    if not tolerant:
                        raise weights_refused(no_weights, len(weights) - weights.null_count)
                    found.append(no_weights)
                    self._unfit.add(name)
            if each.column.missing is MissingPolicy.DROP_ROW:
                self.dropped |= missing
        return tuple(found)

    def split(self, spec: ViewSpec) -> Parts:
        """The part of each row of the data set."""
        column = split_column(spec, self._columns)
        values = self._values(column.name) if column is not None else None
        return parts_of(spec.split, fractions_of(spec), self._row_count, column, values, split_field(spec))

    def check_nothing_missing(self, keep: Mask) -> None:
        """Raises VALUES_MISSING for a column that must not, but does, lack values in rows of the view."""
        for each in self._planned:
            if each.column.missing is not MissingPolicy.FAIL:
                continue
            name = each.column.source_column
            missing = self._missing(name) & keep
            if missing.any():
                first = int(np.flatnonzero(missing)[0])
                message = (
                    f"column '{name}': {int(missing.sum())} of {int(keep.sum())} values are missing, first at row "
                    f"{first}; choose another policy for missing values, or ignore the column"
                )
                field = f"{each.field}.missing"
                raise InvalidArgument(Reason.VALUES_MISSING, message, field=field, column=name, row=str(first))

    def learn(self, training: Mask) -> None:
        """Finds what missing values become, and how many categories there are, from the rows that train."""
        for at, each in enumerate(self._planned):
            needs_fill = each.column.missing.fills and self._fills[at] is None
            has_categories = each.column.type in CATEGORY_TYPES
            if not needs_fill and not has_categories:
                continue
            if needs_fill and each.column.source_column not in self._unfit:
                chosen = list(self._training_values(at, training))
                self._fills[at] = learned_fill(each, plain(pa.chunked_array(chosen)))
            if has_categories:
                fill = self._fills[at]
                distinct = [kernels.unique(values) for values in self._training_values(at, training)]
                values = plain(pa.chunked_array(distinct))
                filled = values if fill is None else kernels.fill_null(values, fill)
                self._category_counts[at] = int(reductions.count_distinct(filled).as_py())

    def check_weights(self, training: Mask) -> None:
        """Raises WEIGHTS_INVALID if missing weights become none, or if no row that trains has any."""
        for at, each in enumerate(self._planned):
            if each.column.role is not ColumnRole.WEIGHT or each.column.source_column in self._unfit:
                continue
            fill = self._fills[at]
            if fill is not None:
                check_fill(each, float(fill.as_py()))
            values = self._training_values(at, training)
            check_any_weight(each, values if fill is None else (kernels.fill_null(part, fill) for part in values))

    def future_warnings(self, method: SplitMethod, parts: Parts) -> Iterator[TableWarning]:
        """Looks at every column of times, whatever the view does with it."""
        for column in self._columns:
            if column.type is ColumnType.DATETIME:
                yield from future_warnings(method, column.name, self._values(column.name), parts)

    def write(self, directory: Path | None, parts: Parts, observer: RowObserver) -> None:
        """Shows the rows to the observer, and writes the parts' files, in their order, if they have a folder."""
        schema = arrow_schema(tuple(each.column.plain for each in self._planned))
        wanted = [self._positions[each.column.source_column] for each in self._planned]
        with ExitStack() as stack:
            files = [part_file(directory, part) for part in PARTS] if directory is not None else []
            writers = [stack.enter_context(BatchWriter(file, schema)) for file in files]
            start = 0
            # Whole rows are read, not the view's columns alone: Parquet reads the dots of a column's name as a path.
            for rows in self._file.iter_batches(self._read_rows()):
                arrays = [self._finished(at, rows.column(position)) for at, position in enumerate(wanted)]
                batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                here = parts[start : start + len(rows)]
                observer.add(batch, here, start)
                start += len(rows)
                for number, writer in enumerate(writers):
                    writer.add(batch.filter(pa.array(here == number)))

    def _finished(self, at: int, values: Array) -> Array:
        cast = self._casts[at](values)
        fill = self._fills[at]
        return cast if fill is None else kernels.fill_null(cast, fill)

    def _training_values(self, at: int, training: Mask) -> Iterator[Array]:
        """The cast values of a column in the rows that train, a row group at a time."""
        position, start = self._positions[self._planned[at].column.source_column], 0
        for group in range(self._file.num_row_groups):
            values = plain(self._file.reader.read_row_group(group, [position]).column(0))
            here = training[start : start + len(values)]
            start += len(values)
            yield whole(self._casts[at](kernels.filter(values, pa.array(here))))

    def _read_rows(self) -> int:
        """Rows that are read at a time: fewer of large ones."""
        row_bytes = sum(column.image.size_bytes for column in self._columns if column.image is not None)
        return max(1, min(READ_ROWS, READ_BYTES // max(row_bytes, 1)))

    def _missing(self, name: str) -> Mask:
        """Which values of a column are missing. A row group is in memory at a time."""
        position = self._positions[name]
        groups = (self._file.reader.read_row_group(at, [position]) for at in range(self._file.num_row_groups))
        return np.concatenate([_missing(plain(group.column(0))) for group in groups])

    def _values(self, name: str) -> Array:
        """All values of a column. By position, for the dots in names."""
        return plain(self._file.reader.read_column(self._positions[name]))


def _missing(values: Array) -> Mask:
    mask: Mask = kernels.is_null(values).to_numpy(zero_copy_only=False)
    return mask


def _counts(parts: Parts) -> tuple[int, int, int]:
    train, validation, test = np.bincount(parts, minlength=len(PARTS)).tolist()
    return train, validation, test


def _check_parts(spec: ViewSpec, parts: Parts, keep: Mask) -> None:
    """Raises SPLIT_EMPTY for a part without rows that the fractions want; training rows are always wanted."""
    before, after = _counts(parts[parts != LEFT_OUT]), _counts(parts[keep])
    for number, part in enumerate(PARTS):
        if after[number] or (number != TRAIN and not fractions_of(spec)[number]):
            continue
        if before[number]:
            cause = f"all {before[number]} of its rows lack a value; fill missing values instead of dropping their rows"
        elif spec.split.method is SplitMethod.COLUMN:
            values = spec.split.values[number] or (part.value,)
            shown = ", ".join(f"'{value}'" for value in values)
            cause = f"no row of column '{spec.split.column}' is {shown}; name its values, or set its fraction to 0"
        else:
            cause = f"{len(parts)} rows are too few for its fraction, or its groups too large; choose other fractions"
        counts = ", ".join(f"{count} {each.value}" for count, each in zip(after, PARTS, strict=True))
        message = f"the split leaves no rows for {part.value} ({counts}): {cause}"
        raise InvalidArgument(Reason.SPLIT_EMPTY, message, field="view.split", part=part.value)
