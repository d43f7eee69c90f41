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
    each class too, or, if only the most probable ones were asked for, `{target}_top_{place}` and
    `{target}_top_{place}_probability` for each place from 1. `frame.attrs` holds the `version` and its `digest`, and as
    `row_errors` a dict of `row`, `column` and `message` for each row that could not be predicted; the frame has missing
    values there.
    """
    import pandas as pd

    parts = [pd.DataFrame(_columns(response)) for response in responses]
    frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    frame.attrs = {"version": responses[0].version, "digest": responses[0].digest, "row_errors": _errors(responses)}
    return frame


def _errors(responses: Sequence[pb.PredictResponse]) -> list[dict[str, Any]]:
    """The row errors of all responses, by their rows in the frame."""
    errors, first = [], 0
    for response in responses:
        errors += [
            {"row": first + each.row, "column": each.column, "message": each.message} for each in response.row_errors
        ]
        first += response.row_count
    return errors


def _columns(response: pb.PredictResponse) -> dict[str, Any]:
    import numpy as np

    columns: dict[str, Any] = {}
    bad = [error.row for error in response.row_errors]
    for target in response.targets:
        if target.WhichOneof("prediction") == "regression":
            columns[target.target] = np.array(target.regression.values, dtype=np.float64)
            continue
        found = target.classification
        columns[target.target] = _labels(found.labels, bad)
        width = len(found.top_labels) // max(1, response.row_count)
        for place in range(width):
            columns[f"{target.target}_top_{place + 1}"] = _labels(found.top_labels[place::width], bad)
            columns[f"{target.target}_top_{place + 1}_probability"] = np.array(found.top_probabilities[place::width])
        probabilities = np.array(found.probabilities, dtype=np.float64).reshape(-1, max(1, len(found.classes)))
        for position, label in enumerate(found.classes):
            columns[f"{target.target}_probability_{label}"] = probabilities[:, position]
    return columns


def _labels(labels: Sequence[str], bad: Sequence[int]) -> list[str | None]:
    """None for rows that could not be predicted."""
    found: list[str | None] = list(labels)
    for row in bad:
        found[row] = None
    return found
