"""The quick way of tables whose columns are one number each: all columns in a few calls, none by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_server.features.features import FittedFeatures
from ml_server.prediction.raw import RawColumn

ARRAYS = {np.ndarray}


def number_features(fitted: FittedFeatures, raw: Mapping[str, RawColumn]) -> NDArray[np.float32] | None:
    """The features (N, layout.columns) of raw values.

    None if a column is no number, is sent as text, or is not there, or if a value is missing or not valid: then the
    way through single columns knows what to do, or what to say.
    """
    names = fitted.number_names
    if not names or len(raw) != len(names):
        return None
    try:
        columns = list(map(raw.__getitem__, names))
    except KeyError:
        return None
    return _of_row(fitted, columns) if len(columns[0]) == 1 else _of_rows(fitted, columns)


def _of_row(fitted: FittedFeatures, columns: Sequence[Any]) -> NDArray[np.float32] | None:
    """A row by itself, where each call of NumPy counts: what Python can look at is not worth one."""
    try:
        values = [column.values.item() for column in columns if not column.missing]
    except (AttributeError, ValueError):  # no array, or not of one value
        return None
    if len(values) != len(columns):
        return None
    if any(values[at] not in (0, 1) for at in fitted.boolean_columns):
        return None
    return _finite_features(fitted, np.array(values, np.float64)[:, None])


def _of_rows(fitted: FittedFeatures, columns: Sequence[RawColumn]) -> NDArray[np.float32] | None:
    values: list[Any] = [column.values for column in columns if not column.missing]
    if len(values) != len(columns) or set(map(type, values)) != ARRAYS:
        return None
    lengths = set(map(len, values))
    if len(lengths) != 1 or 0 in lengths:
        return None
    matrix = np.concatenate(values, dtype=np.float64, casting="unsafe").reshape(len(values), -1)
    return _finite_features(fitted, matrix) if _are_booleans(matrix, fitted.boolean_columns) else None


def _finite_features(fitted: FittedFeatures, matrix: NDArray[np.float64]) -> NDArray[np.float32] | None:
    # One look for all: what is not finite now gives no finite feature, nor does what is too large for float32.
    with np.errstate(over="ignore", invalid="ignore"):
        features = fitted.transform_numbers(matrix)
    return features if np.isfinite(features).all() else None


def _are_booleans(matrix: NDArray[np.float64], rows: Sequence[int]) -> bool:
    return all(bool(((matrix[row] == 0) | (matrix[row] == 1)).all()) for row in rows)
