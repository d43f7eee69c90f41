"""Explanations as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flare.ml.v1 import prediction_service_pb2 as pb

from flare_client.choices import short_name

if TYPE_CHECKING:
    import pandas as pd


def explanation_frame(responses: Sequence[pb.ExplainResponse]) -> pd.DataFrame:
    """A row for each row explained, numbered from 0, with the contribution of each input column.

    A row adds up to its place in `frame.attrs["outputs"]` less that in `frame.attrs["baseline_outputs"]`, lists of a
    number for each row. `frame.attrs` holds `version`, `digest`, `target` and `method` too, and for a class the
    `class_labels`, that of each row.
    """
    import numpy as np
    import pandas as pd

    first = responses[0]
    parts = [np.array(each.contributions).reshape(-1, len(first.columns)) for each in responses]
    frame = pd.DataFrame(np.concatenate(parts), columns=list(first.columns))
    frame.attrs = {
        "version": first.version,
        "digest": first.digest,
        "target": first.target,
        "method": short_name(pb.ExplanationMethod, first.method),
        "outputs": [output for each in responses for output in each.outputs],
        "baseline_outputs": [output for each in responses for output in each.baseline_outputs],
        "class_labels": [label for each in responses for label in each.class_labels],
    }
    return frame
