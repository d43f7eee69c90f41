"""The messages of an upload: a header, then chunks."""

from collections.abc import AsyncIterator

from flare.scraper.v1 import scraper_service_pb2 as pb

from servicekit.errors import InvalidArgument, Reason


async def header_of(messages: AsyncIterator[pb.UploadDatasetRequest]) -> pb.UploadHeader:
    """Reads the first message.

    Raises:
        InvalidArgument: INVALID_FIELD, if it is not the header.
    """
    first = await anext(aiter(messages), None)
    if first is None or first.WhichOneof("message") != "header":
        raise InvalidArgument(Reason.INVALID_FIELD, "the first message of an upload is its header", field="header")
    return first.header


async def chunks_of(messages: AsyncIterator[pb.UploadDatasetRequest]) -> AsyncIterator[bytes]:
    """The bytes of the messages after the header.

    Raises:
        InvalidArgument: INVALID_FIELD, if there is a second header.
    """
    async for message in messages:
        if message.WhichOneof("message") != "chunk":
            raise InvalidArgument(Reason.INVALID_FIELD, "an upload has one header, its first message", field="header")
        yield message.chunk
