"""Reads text as a type that somebody chose, as far as it can be read so."""

import numpy as np
import pandas as pd
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, taken
from scraper_server.tables.cells import flags
from scraper_server.tables.numbers import BOOLEAN, FLOAT, INTEGER
from scraper_server.tables.readings import STRING, Cells, Mask, Reading
from scraper_server.tables.schema import ARROW_TYPES, ColumnType
from scraper_server.tables.times import TIMES

TRUE_WORDS = ("true", "t", "yes", "y", "1")
FALSE_WORDS = ("false", "f", "no", "n", "0")

# How values of a type are written in most files.
USUAL = {
    ColumnType.INTEGER: INTEGER,
    ColumnType.FLOAT: FLOAT,
    ColumnType.BOOLEAN: BOOLEAN,
    ColumnType.DATETIME: TIMES[0],
    ColumnType.CATEGORICAL: STRING,
    ColumnType.TEXT: STRING,
}


def insisted(strings: Array, wanted: ColumnType, usual: Reading | None = None) -> Cells:
    """Reads cells as a type where a caller insists; `usual` is how most of them are written.

    More is read than when types are found out: leading zeros, whole floats as integers, yes and no, times of several
    makes in one column unless months and days could be taken for each other. The rest is null.
    """
    cells = (usual or USUAL[wanted]).read(strings)
    if cells.fit or wanted.is_string:
        return cells
    left = np.flatnonzero(cells.misfits)
    more = _lenient(taken(strings, left), wanted)
    misfits = cells.misfits.copy()
    misfits[left] = more.misfits
    # Each row from the one or the other array, as if they lay behind each other.
    places = np.arange(len(strings))
    places[left] = len(strings) + np.arange(len(left))
    return Cells(taken(pa.concat_arrays([cells.values, more.values]), places), misfits)


def _lenient(strings: Array, wanted: ColumnType) -> Cells:
    if wanted is ColumnType.BOOLEAN:
        lowered = kernels.utf8_lower(strings)
        true = flags(kernels.is_in(lowered, value_set=pa.array(TRUE_WORDS)))
        known = flags(kernels.is_in(lowered, value_set=pa.array(TRUE_WORDS + FALSE_WORDS)))
        return Cells(pa.array(true, mask=~known), _held(strings) & ~known)
    if wanted is ColumnType.DATETIME:
        return _times(strings)
    numbers = pd.to_numeric(pd.Series(strings.to_pandas(), dtype="str"), errors="coerce")
    floats = numbers.to_numpy(np.float64, na_value=np.nan)
    good = np.isfinite(floats)
    if wanted is ColumnType.INTEGER:
        good &= np.equal(np.mod(floats, 1, where=good, out=np.ones_like(floats)), 0) & (np.abs(floats) < 2.0**63)
        return Cells(pa.array(np.where(good, floats, 0).astype(np.int64), mask=~good), _held(strings) & ~good)
    return Cells(pa.array(floats, mask=~good), _held(strings) & ~good)


def _times(strings: Array) -> Cells:
    """Each time as the first reading has it that knows it, but by none that could swap month and day."""
    values: Array = pa.array([None] * len(strings), ARROW_TYPES[ColumnType.DATETIME])
    misfits = _held(strings)
    for reading in TIMES:
        if reading.family is None:
            found = reading.read(strings)
            values = kernels.coalesce(values, found.values)
            misfits &= found.misfits
    return Cells(values, misfits)


def _held(strings: Array) -> Mask:
    return flags(kernels.is_valid(strings))
