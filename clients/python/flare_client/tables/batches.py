"""The rows of a view, as Arrow record batches, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def arrow_frame(schema: bytes, batches: Sequence[bytes]) -> pd.DataFrame:
    """The rows of all batches, numbered from 0. Both arguments are encapsulated Arrow IPC messages."""
    import pyarrow as pa

    columns = pa.ipc.read_schema(pa.py_buffer(schema))
    tables = [pa.ipc.read_record_batch(pa.py_buffer(batch), columns) for batch in batches]
    return pa.Table.from_batches(tables, schema=columns).to_pandas()
