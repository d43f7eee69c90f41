"""Features that networks can compute with: a value whose features are no finite numbers is found with its place."""

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Columns, NumberColumn
from ml_server.features.features import FittedFeatures
from ml_server.prediction.row_faults import Faults

MISSING_PROBLEM = (
    "is missing, and no training row had it missing, nor does the view say what to put in its place: give a value"
)
INFINITE_PROBLEM = "is infinite: give a finite number"


def finite_features(fitted: FittedFeatures, columns: Columns, faults: Faults) -> NDArray[np.float32]:
    """The features (N, layout.columns) of N rows, as `fitted` has them; those of rows with faults mean nothing.

    A fault is a number that is missing where none may be, that is infinite, or so far from those of training that its
    feature is none of float32. Raises what `faults` raises.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        features = fitted.transform(columns)
    if not fitted.number_columns or np.isfinite(features).all():
        return features
    for column, place in fitted.places:
        values = columns[column.name]
        if isinstance(values, NumberColumn):
            are_finite = np.isfinite(features[:, place : place + column.encoding.width]).all(axis=1)
            for row in np.flatnonzero(~are_finite).tolist():
                faults.found(column.name, row, _problem(values.values[row]))
    return features


def _problem(value: float) -> str:
    if np.isnan(value):
        return MISSING_PROBLEM
    if np.isinf(value):
        return INFINITE_PROBLEM
    return f"is {value:g}, too far from those of training to compute with: correct it"
