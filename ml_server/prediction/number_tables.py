"""The quick way of tables whose columns are one number each: all columns in a few calls, none by itself."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ml_server.features.features import FittedFeatures
from ml_server.prediction.raw import RawColumn


def number_features(fitted: FittedFeatures, raw: Mapping[str, RawColumn]) -> NDArray[np.float32] | None:
    """The features (N, layout.columns) of raw values.

    None if a column is no number, is sent as text, or is not there, or if a value is missing or not valid: then the
    way through single columns knows what to do, or what to say.
    """
    names = fitted.number_names
    if not names or len(raw) != len(names):
        return None
    try:
        values = [_array(raw[name]) for name in names]
    except (KeyError, TypeError):
        return None
    rows = len(values[0])
    if not rows or any(len(each) != rows for each in values):
        return None
    matrix = np.concatenate(values, dtype=np.float64, casting="unsafe").reshape(len(values), rows)
    if not np.isfinite(matrix).all() or not _are_booleans(matrix, fitted.boolean_rows):
        return None
    return fitted.transform_numbers(matrix)


def _array(column: RawColumn) -> NDArray[np.generic]:
    """Raises TypeError for what is not an array of numbers without missing ones."""
    if column.missing or type(column.values) is not np.ndarray:
        raise TypeError
    return column.values


def _are_booleans(matrix: NDArray[np.float64], rows: NDArray[np.int64]) -> bool:
    if not len(rows):
        return True
    values = matrix[rows]
    return bool(((values == 0) | (values == 1)).all())
