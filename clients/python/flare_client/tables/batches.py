"""The rows of a view, as Arrow record batches, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from flare.scraper.v1 import dataset_pb2

from flare_client.tables.images import with_arrays

if TYPE_CHECKING:
    import pandas as pd


def arrow_frame(
    schema: bytes, batches: Sequence[bytes], images: Mapping[str, dataset_pb2.ImageShape] = MappingProxyType({})
) -> pd.DataFrame:
    """The rows of all batches, numbered from 0. Schema and batches are encapsulated Arrow IPC messages.

    `images` tells what the images of the columns are that hold some; they become arrays of uint8.
    """
    import pyarrow as pa

    columns = pa.ipc.read_schema(pa.py_buffer(schema))
    tables = [pa.ipc.read_record_batch(pa.py_buffer(batch), columns) for batch in batches]
    return with_arrays(pa.Table.from_batches(tables, schema=columns).to_pandas(), images)
