"""What preprocessing is fitted on, from columns that are all there."""

from collections.abc import Sequence

from ml_server.features.columns import Columns
from ml_server.features.fit import InputColumn, summaries_of
from ml_server.features.summaries import Summary
from ml_server.features.targets import TargetColumn


def summarized(
    inputs: Sequence[InputColumn], rows: Columns, targets: Sequence[TargetColumn] = ()
) -> dict[str, Summary]:
    """The summaries of the columns that are named."""
    summaries = summaries_of(inputs, targets)
    summaries.add(rows)
    return summaries.columns
