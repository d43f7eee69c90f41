"""Turns values of one type into another, as far as they can be."""

import numpy as np
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels
from scraper_server.tables.cells import as_text, finite, flags
from scraper_server.tables.insisting import insisted
from scraper_server.tables.readings import Cells, Mask
from scraper_server.tables.schema import ARROW_TYPES, ColumnType


def can_become(source: ColumnType, wanted: ColumnType) -> bool:
    """False for times as numbers, and numbers as times: nobody could say which."""
    is_time = (source is ColumnType.DATETIME, wanted is ColumnType.DATETIME)
    return not any(is_time) or all(is_time) or source.is_string or wanted.is_string


def converted(values: Array, source: ColumnType, wanted: ColumnType) -> Cells:
    """Values of one type as another that it `can_become`; those that can't be are null."""
    if ARROW_TYPES[source] == ARROW_TYPES[wanted]:
        return Cells(values, np.zeros(len(values), np.bool_))
    if source.is_string:
        return insisted(values, wanted)
    if wanted.is_string:
        return Cells(as_text(values), np.zeros(len(values), np.bool_))
    misfits = unfit_numbers(values, wanted)
    fitting = kernels.if_else(pa.array(misfits), pa.scalar(None, values.type), values)
    cast = kernels.cast(fitting, ARROW_TYPES[wanted], safe=False)
    return Cells(finite(cast) if wanted is ColumnType.FLOAT else cast, misfits)


def unfit_numbers(values: Array, wanted: ColumnType) -> Mask:
    """Which numbers or booleans the wanted type can't hold."""
    if wanted is ColumnType.BOOLEAN:
        numbers = kernels.cast(values, pa.float64(), safe=False)
        fit = kernels.is_in(numbers, value_set=pa.array([0.0, 1.0, None]))
    elif wanted is ColumnType.INTEGER and pa.types.is_floating(values.type):
        whole = kernels.equal(kernels.floor(values), values)
        fit = kernels.and_(whole, kernels.less(kernels.abs(values), 2.0**63))
    else:
        return np.zeros(len(values), np.bool_)
    return flags(kernels.invert(fit))
