"""Predictions as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flare.ml.v1 import prediction_service_pb2 as pb

if TYPE_CHECKING:
    import pandas as pd


def prediction_frame(responses: Sequence[pb.PredictResponse]) -> pd.DataFrame:
    """A row for each row predicted, numbered from 0, in the order of the responses.

    Each target has its column, with labels or values; a classification has a column `{target}_probability_{class}` for
    each class too. `frame.attrs` holds the `version` and its `digest`.
    """
    import pandas as pd

    parts = [pd.DataFrame(_columns(response)) for response in responses]
    frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    frame.attrs = {"version": responses[0].version, "digest": responses[0].digest}
    return frame


def _columns(response: pb.PredictResponse) -> dict[str, Any]:
    import numpy as np

    columns: dict[str, Any] = {}
    for target in response.targets:
        if target.WhichOneof("prediction") == "regression":
            columns[target.target] = np.array(target.regression.values, dtype=np.float64)
            continue
        found = target.classification
        columns[target.target] = list(found.labels)
        probabilities = np.array(found.probabilities, dtype=np.float64).reshape(-1, max(1, len(found.classes)))
        for position, label in enumerate(found.classes):
            columns[f"{target.target}_probability_{label}"] = probabilities[:, position]
    return columns
