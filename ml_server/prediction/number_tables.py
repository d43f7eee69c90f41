"""The quick way of tables whose columns are one number each: all columns in a few calls, none by itself."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_server.features.features import FittedFeatures, are_finite
from ml_server.prediction.raw import RawColumn

FLOATS = {np.dtype(np.float64)}
DTYPE = attrgetter("dtype")


def number_features(fitted: FittedFeatures, raw: Mapping[str, RawColumn]) -> NDArray[np.float32] | None:
    """The features (N, layout.columns) of raw values.

    None if a column is no number, is sent as text, or is not there, or if a value is missing or not valid: then the
    way through single columns knows what to do, or what to say.
    """
    names = fitted.number_names
    if not names or len(raw) != len(names):
        return None
    try:
        values = [column.values for column in map(raw.__getitem__, names) if not column.missing]
    except KeyError:
        return None
    if len(values) != len(names):
        return None
    return _of_row(fitted, values) if len(values[0]) == 1 else _of_rows(fitted, values)


def _of_row(fitted: FittedFeatures, values: Sequence[Any]) -> NDArray[np.float32] | None:
    """A row by itself, where each call of NumPy counts: what Python can compute is not worth one."""
    try:
        numbers = list(map(np.ndarray.item, values))
    except (TypeError, ValueError):  # no array, or not of one value
        return None
    if fitted.boolean_columns and any(numbers[at] not in (0, 1) for at in fitted.boolean_columns):
        return None
    return fitted.transform_row(numbers)


def _of_rows(fitted: FittedFeatures, values: Sequence[Any]) -> NDArray[np.float32] | None:
    try:
        dtypes = set(map(DTYPE, values))
    except AttributeError:  # no array
        return None
    lengths = set(map(len, values))
    if len(lengths) != 1 or 0 in lengths:
        return None
    matrix = _stacked(values, are_floats=dtypes == FLOATS)
    if not _are_booleans(matrix, fitted.boolean_columns):
        return None
    # One look for all: what is not finite now gives no finite feature, nor does what is too large for float32.
    with np.errstate(over="ignore", invalid="ignore"):
        features = fitted.transform_numbers(matrix)
    return features if are_finite(features) else None


def _stacked(values: Sequence[Any], are_floats: bool) -> NDArray[np.float64]:
    """The columns as the rows of a new matrix; `are_floats` if all of them are float64."""
    if are_floats:
        try:
            return np.frombuffer(bytearray().join(values), np.float64).reshape(len(values), -1)
        except TypeError:  # numbers that do not lie together
            pass
    return np.concatenate(values, dtype=np.float64, casting="unsafe").reshape(len(values), -1)


def _are_booleans(matrix: NDArray[np.float64], rows: Sequence[int]) -> bool:
    return all(bool(((matrix[row] == 0) | (matrix[row] == 1)).all()) for row in rows)
