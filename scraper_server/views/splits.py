"""Decides which part each row belongs to. The same table, method and seed give the same parts everywhere and always.

Chance comes from the raw 64-bit outputs of NumPy's PCG64, seeded with the seed modulo 2**64: NumPy promises that this
stream never changes, which it does not for shuffles and permutations. Row `i` (or the i-th group in the order of their
values) draws output `i`; rows are taken in the order of what they drew, equal draws in their own order.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels
from scraper_server.tables.cells import as_text
from scraper_server.tables.schema import Column, ColumnType
from scraper_server.views.spec import PARTS, Split, SplitMethod
from servicekit.errors import InvalidArgument, Reason

TRAIN, VALIDATION, TEST, LEFT_OUT = 0, 1, 2, -1

Parts = npt.NDArray[np.int8]
Fractions = tuple[float, float, float]


def parts_of(
    split: Split, fractions: Fractions, row_count: int, column: Column | None, values: Array | None, field: str
) -> Parts:
    """The part of each row (0 train, 1 validation, 2 test, -1 left out). `values` are those of the split's column.

    Raises:
        InvalidArgument: SPLIT_INVALID at `field`, the path of the split's column, if the column can't serve.
    """
    if column is None or values is None:
        return _in_order(np.argsort(_draws(split.seed, row_count), kind="stable"), fractions)
    if split.method is SplitMethod.COLUMN:
        return _by_column(split, values, column, field)
    if split.method is SplitMethod.TIME:
        if not (column.type.is_numeric or column.type is ColumnType.DATETIME):
            raise _invalid(column, f"is {column.type.value}, without order in time: take a date or a number", field)
        _require_values(column, values, "a time", field)
        return _by_group(_codes(values), None, fractions)
    if split.method is SplitMethod.GROUP:
        _require_values(column, values, "a group", field)
        return _by_group(_codes(values), split.seed, fractions)
    if column.type in (ColumnType.FLOAT, ColumnType.DATETIME):
        raise _invalid(column, f"is {column.type.value} without classes: take a column with few values", field)
    codes = _codes(values)
    if len(codes) and codes.max() + 1 > len(codes) / 2:
        message = f"has {codes.max() + 1} classes in {len(codes)} rows: stratify by a column whose values repeat"
        raise _invalid(column, message, field)
    return _stratified(codes, split.seed, fractions)


def _draws(seed: int, count: int) -> npt.NDArray[np.uint64]:
    return np.asarray(np.random.PCG64(seed % 2**64).random_raw(count), dtype=np.uint64)


def _bounds(fractions: Fractions, count: int) -> tuple[int, int]:
    """Where the training rows end and where the validation rows do, rounded half up."""
    first = int(np.floor(fractions[0] * count + 0.5))
    second = count if fractions[2] == 0 else int(np.floor((fractions[0] + fractions[1]) * count + 0.5))
    return first, max(first, second)


def _in_order(order: npt.NDArray[np.intp], fractions: Fractions) -> Parts:
    first, second = _bounds(fractions, len(order))
    parts = np.full(len(order), TEST, np.int8)
    parts[order[:first]] = TRAIN
    parts[order[first:second]] = VALIDATION
    return parts


def _stratified(codes: npt.NDArray[np.int64], seed: int, fractions: Fractions) -> Parts:
    """Rows are lined up class by class, by chance within each, and taken at even distances along the line: first those
    that train, then of the rest those that validate. So each class has its share of each part to a row or so, and the
    roundings of many small classes do not add up.

    A class never lacks in the training rows only because it is small.
    """
    order = np.lexsort((_draws(seed, len(codes)), codes))
    trains = _even_steps(len(codes), fractions[0])
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    if fractions[0] > 0:
        trains[starts[np.add.reduceat(trains, starts) == 0]] = True
    rest = np.flatnonzero(~trains)
    others = fractions[1] + fractions[2]
    along = np.full(len(codes), TRAIN, np.int8)
    along[rest] = np.where(_even_steps(len(rest), fractions[1] / others if others else 0.0), VALIDATION, TEST)
    parts = np.empty(len(codes), np.int8)
    parts[order] = along
    return parts


def _even_steps(count: int, share: float) -> npt.NDArray[np.bool_]:
    """Marks a share of `count` places, rounded half up, at even distances."""
    marked: npt.NDArray[np.bool_] = np.diff(np.floor(np.arange(count + 1) * share + 0.5)) > 0
    return marked


def _by_group(codes: npt.NDArray[np.int64], seed: int | None, fractions: Fractions) -> Parts:
    """Whole groups in the order of their values or, with a seed, of what they drew. Each goes where its middle lies."""
    sizes = np.bincount(codes)
    order = np.arange(len(sizes)) if seed is None else np.argsort(_draws(seed, len(sizes)), kind="stable")
    ends = np.cumsum(sizes[order])
    twice_middle = 2 * ends - sizes[order]  # whole numbers, so that nothing hangs on rounding
    first, second = _bounds(fractions, len(codes))
    of_group = np.empty(len(sizes), np.int8)
    of_group[order] = np.where(twice_middle < 2 * first, TRAIN, np.where(twice_middle < 2 * second, VALIDATION, TEST))
    return of_group[codes]


def _by_column(split: Split, values: Array, column: Column, field: str) -> Parts:
    texts = as_text(values)
    parts = np.full(len(values), LEFT_OUT, np.int8)
    taken: dict[str, str] = {}
    for number, (part, given) in enumerate(zip(PARTS, split.values, strict=True)):
        wanted = given or (part.value,)
        for value in wanted:
            if taken.setdefault(value, part.value) != part.value:
                message = f"can't decide: value '{value}' means both {taken[value]} and {part.value}"
                raise _invalid(column, message, field)
        parts[kernels.is_in(texts, value_set=pa.array(wanted)).to_numpy(zero_copy_only=False)] = number
    return parts


def _codes(values: Array) -> npt.NDArray[np.int64]:
    """The rank of each value among the distinct ones, ascending; missing ones come last."""
    ranks = kernels.rank(values, sort_keys="ascending", tiebreaker="dense")
    return ranks.to_numpy().astype(np.int64) - 1


def _require_values(column: Column, values: Array, what: str, field: str) -> None:
    if values.null_count:
        first = int(np.flatnonzero(kernels.is_null(values).to_numpy(zero_copy_only=False))[0])
        message = (
            f"is missing in {values.null_count} of {len(values)} rows, first in row {first}, and each row needs {what}"
        )
        raise _invalid(column, message, field)


def _invalid(column: Column, problem: str, field: str) -> InvalidArgument:
    message = f"column '{column.name}' {problem}"
    return InvalidArgument(Reason.SPLIT_INVALID, message, field=field, column=column.name)
