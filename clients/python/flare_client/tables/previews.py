"""The first rows of a data set as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare.scraper.v1 import scraper_service_pb2 as pb

if TYPE_CHECKING:
    import pandas as pd


def preview_frame(response: pb.PreviewDatasetResponse) -> pd.DataFrame:
    """Cells as text, None where missing; the index holds the rows' positions in the data set."""
    import pandas as pd

    return pd.DataFrame(
        [[_text(cell) for cell in row.cells] for row in response.rows],
        columns=[column.name for column in response.columns],
        index=[row.index for row in response.rows],
        dtype=object,
    )


def _text(cell: pb.PreviewCell) -> str | None:
    if not cell.HasField("text"):
        return None
    return cell.text + ("..." if cell.truncated else "")
