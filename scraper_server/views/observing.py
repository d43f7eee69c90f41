"""Looks at the rows of a view on their way, for what its author should know."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scraper_server.tables.arrow import Array, concatenated, kernels, reductions
from scraper_server.tables.cells import as_text
from scraper_server.tables.schema import CellExample, ColumnType
from scraper_server.views.spec import PARTS, ColumnRole, ViewColumn
from scraper_server.views.splits import TRAIN, Parts

# What is kept of a view to compare columns: so many rows, of wide tables so many cells.
SAMPLE_ROWS = 100_000
SAMPLE_CELLS = 20_000_000
# Rows are told apart by 64 bits each, of which so many are kept; of larger views a share of all rows, chosen by these
# bits, so that equal rows stay together.
MOST_HASHES = 20_000_000
MOST_CLASSES = 1_000
EXAMPLES = 20

Hashes = npt.NDArray[np.uint64]


@dataclass
class ClassCounts:
    """How many rows of each part each class of a target has."""

    counts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    def add(self, values: Array, parts: Parts) -> None:
        """Takes the next rows."""
        texts = as_text(values)
        for number in range(len(PARTS)):
            coded = kernels.drop_null(kernels.filter(texts, pa.array(parts == number))).dictionary_encode()
            for label, count in zip(coded.dictionary.to_pylist(), np.bincount(coded.indices), strict=True):
                self.counts.setdefault(str(label), np.zeros(len(PARTS), np.int64))[number] += count


class RowObserver:
    """Sees every row of a view once, block by block."""

    def __init__(self, columns: tuple[ViewColumn, ...], row_count: int) -> None:
        """`row_count` is that of the data set."""
        self._columns = columns
        # Images are neither compared nor told apart: they would cost more than all the rest.
        self._inputs = [at for at, each in enumerate(columns) if _is_compared(each) and each.role is ColumnRole.INPUT]
        compared = [at for at, each in enumerate(columns) if _is_compared(each)]
        rows = max(1, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, len(compared))))
        self._step = max(1, -(-row_count // rows))
        self._seen = 0
        self._sampled: list[pa.RecordBatch] = []
        self._first: list[object] = [None] * len(columns)
        self._may_be_constant = np.ones(len(columns), np.bool_)
        self._has_images = len(compared) < len(columns)
        self._shift = np.uint64(0)
        self._hashes: list[list[Hashes]] = [[] for _ in PARTS]
        self._rows: list[list[npt.NDArray[np.int64]]] = [[] for _ in PARTS]
        self._kept = 0
        self.classes = {
            at: ClassCounts()
            for at, each in enumerate(columns)
            if each.role is ColumnRole.TARGET and 0 < each.category_count <= MOST_CLASSES
        }

    def add(self, rows: pa.RecordBatch, parts: Parts, first_row: int) -> None:
        """Takes the next rows of the view's columns, with the part of each, from a row of the data set on."""
        self._watch_constants(rows, parts)
        for at, counts in self.classes.items():
            counts.add(rows.column(at), parts)
        if not self._has_images and self._inputs:
            self._hash(rows, parts, first_row)
        places = np.arange(-self._seen % self._step, len(rows), self._step)
        self._seen += len(rows)
        places = places[parts[places] == TRAIN]
        if len(places):
            self._sampled.append(rows.take(pa.array(places)))

    @property
    def sample(self) -> pa.RecordBatch | None:
        """Some of the training rows, evenly spread; None if there are none."""
        return concatenated(self._sampled) if self._sampled else None

    @property
    def constant_columns(self) -> list[ViewColumn]:
        """The inputs that have one value in all training rows."""
        return [self._columns[at] for at in self._inputs if self._may_be_constant[at]]

    def shared_rows(self, number: int) -> tuple[int, float, tuple[CellExample, ...]]:
        """How many rows of a part have inputs that a training row has too, their share of the part, and the first."""
        trained, other = (np.concatenate(self._hashes[at] or [np.empty(0, np.uint64)]) for at in (TRAIN, number))
        if not len(other):
            return 0, 0.0, ()
        is_shared = np.isin(other, trained)
        places = np.concatenate(self._rows[number])[is_shared]
        count = int(is_shared.sum()) << int(self._shift)
        return count, float(is_shared.mean()), tuple(CellExample(int(row)) for row in places[:EXAMPLES])

    def _watch_constants(self, rows: pa.RecordBatch, parts: Parts) -> None:
        training = pa.array(parts == TRAIN)
        for at in self._inputs:
            if not self._may_be_constant[at]:
                continue
            values = kernels.filter(rows.column(at), training)
            if not len(values):
                continue
            if self._first[at] is None:
                self._first[at] = values[0]
            same = kernels.equal(values, self._first[at])
            self._may_be_constant[at] = not values.null_count and bool(reductions.all(same).as_py())

    def _hash(self, rows: pa.RecordBatch, parts: Parts, first_row: int) -> None:
        found = np.zeros(len(rows), np.uint64)
        for at in self._inputs:
            found = (found ^ _column_hashes(rows.column(at))) * np.uint64(0x9E3779B97F4A7C15)
            found ^= found >> np.uint64(29)
        is_kept = _is_chosen(found, self._shift)
        for number in range(len(PARTS)):
            chosen = is_kept & (parts == number)
            self._hashes[number].append(found[chosen])
            self._rows[number].append(np.flatnonzero(chosen) + first_row)
        self._kept += int(is_kept.sum())
        if self._kept > MOST_HASHES:
            self._thin_out()

    def _thin_out(self) -> None:
        """Keeps half of the different rows."""
        self._shift += np.uint64(1)
        self._kept = 0
        for number in range(len(PARTS)):
            hashes, rows = np.concatenate(self._hashes[number]), np.concatenate(self._rows[number])
            chosen = _is_chosen(hashes, self._shift)
            self._hashes[number], self._rows[number] = [hashes[chosen]], [rows[chosen]]
            self._kept += int(chosen.sum())


def _is_compared(column: ViewColumn) -> bool:
    return column.type is not ColumnType.IMAGE


def _is_chosen(hashes: Hashes, shift: np.uint64) -> npt.NDArray[np.bool_]:
    chosen: npt.NDArray[np.bool_] = hashes & ((np.uint64(1) << shift) - np.uint64(1)) == 0
    return chosen


def _column_hashes(values: Array) -> Hashes:
    """64 bits for each value, equal for equal ones, and for missing ones. They are mixed by who joins columns."""
    if pa.types.is_string(values.type):
        coded = values.dictionary_encode()
        known = pd.util.hash_array(np.asarray(coded.dictionary.to_pylist(), dtype=object), categorize=False)
        table = np.append(known, np.uint64(1))
        codes = kernels.fill_null(coded.indices, len(known)).to_numpy(zero_copy_only=False)
        hashes: Hashes = table[codes]
        return hashes
    if pa.types.is_timestamp(values.type):
        values = kernels.cast(values, pa.int64())
    numbers = kernels.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    bits: Hashes = (numbers + 0.0).view(np.uint64)  # -0.0 becomes 0.0, which it equals
    return bits
