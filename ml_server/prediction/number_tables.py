"""The quick way of tables whose columns are one number each: all columns in a few calls, none by itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_server.features.features import FittedFeatures
from ml_server.prediction.raw import RawColumn

ARRAYS = {np.ndarray}
ABSENT = RawColumn(())


def number_features(fitted: FittedFeatures, raw: Mapping[str, RawColumn]) -> NDArray[np.float32] | None:
    """The features (N, layout.columns) of raw values.

    None if a column is no number, is sent as text, or is not there, or if a value is missing or not valid: then the
    way through single columns knows what to do, or what to say.
    """
    names = fitted.number_names
    if not names or len(raw) != len(names):
        return None
    columns = [raw.get(name, ABSENT) for name in names]
    values: list[Any] = [column.values for column in columns]
    if set(map(type, values)) != ARRAYS or any(column.missing for column in columns):
        return None
    lengths = set(map(len, values))
    if len(lengths) != 1 or 0 in lengths:
        return None
    matrix = np.concatenate(values, dtype=np.float64, casting="unsafe").reshape(len(values), -1)
    if not _are_booleans(matrix, fitted.boolean_rows):
        return None
    # One look for all: what is not finite now gives no finite feature, nor does what is too large for float32.
    with np.errstate(over="ignore", invalid="ignore"):
        features = fitted.transform_numbers(matrix)
    return features if np.isfinite(features).all() else None


def _are_booleans(matrix: NDArray[np.float64], rows: NDArray[np.int64]) -> bool:
    if not len(rows):
        return True
    values = matrix[rows]
    return bool(((values == 0) | (values == 1)).all())
