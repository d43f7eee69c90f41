"""Comparisons of versions, as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare.ml.v1 import evaluation_pb2

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("value", "lower", "upper", "difference", "difference_lower", "difference_upper", "p_value")


def comparison_frame(comparison: evaluation_pb2.ModelComparison) -> pd.DataFrame:
    """A row for each target, metric and version: its value with its interval, and its difference to the first version.

    That of the first version itself is missing.
    """
    import pandas as pd

    index: list[tuple[str, str, str]] = []
    rows: list[tuple[float | None, ...]] = []
    for target in comparison.targets:
        for metric in target.metrics:
            differences = {each.version: each for each in metric.differences}
            for version, estimate in zip(comparison.versions, metric.estimates, strict=True):
                index.append((target.target, metric.name, version.name))
                found = differences.get(version.name)
                between = (
                    (found.difference.value, found.difference.lower, found.difference.upper, found.p_value)
                    if found
                    else (None, None, None, None)
                )
                rows.append((estimate.value, estimate.lower, estimate.upper, *between))
    names = pd.MultiIndex.from_tuples(index, names=["target", "metric", "version"])
    return pd.DataFrame(rows, index=names, columns=list(COLUMNS), dtype=float)
