"""The messages of a row stream: what it begins with, and rows that are written with one copy of them.

The generated class would copy each batch several times on its way to the socket. What is written is what it would
write, byte by byte, and clients read it with their own generated classes.
"""

from flare.scraper.v1 import scraper_service_pb2 as pb

from scraper_server.datasets.values import DatasetView
from scraper_server.rpc.enums import LAYOUT
from scraper_server.rpc.view_messages import view_column_message
from scraper_server.views.batches import EncodedBatch, PartStream
from scraper_server.views.spec import PARTS, Part
from servicekit.rpc.packed import LENGTH_DELIMITED, varint


def header_message(view: DatasetView, part: Part, stream: PartStream) -> pb.StreamViewResponse:
    """What a row stream begins with."""
    layout = stream.layout
    header = pb.StreamViewHeader(
        columns=[view_column_message(each) for each in layout.columns],
        row_count=view.resolved.row_counts[PARTS.index(part)],
        batch_count=stream.file.batch_count,
        digest=view.resolved.digest,
        arrow_schema=layout.schema.serialize().to_pybytes(),
        layout=LAYOUT[layout.kind],
        feature_columns=layout.feature_names,
    )
    return pb.StreamViewResponse(header=header)


def written(message: pb.StreamViewResponse | EncodedBatch) -> bytes:
    """A message of a row stream on the wire; a batch as the StreamViewResponse that holds it."""
    if isinstance(message, pb.StreamViewResponse):
        return message.SerializeToString()
    rows = message.message
    fields = pb.ViewBatch(index=message.index, row_count=message.row_count).SerializeToString()
    fields += _tag(pb.ViewBatch.ARROW_BATCH_FIELD_NUMBER) + varint(rows.size)
    length = varint(len(fields) + rows.size)
    return b"".join((_tag(pb.StreamViewResponse.BATCH_FIELD_NUMBER), length, fields, rows))


def _tag(field: int) -> bytes:
    return varint(field << 3 | LENGTH_DELIMITED)
