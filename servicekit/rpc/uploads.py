"""The first message of an upload is its header, all others are chunks."""

from collections.abc import AsyncIterator
from typing import Any

from servicekit.errors import InvalidArgument, Reason


async def header_of(requests: AsyncIterator[Any]) -> Any:
    """The header. Raises InvalidArgument (INVALID_FIELD) if the stream does not begin with one."""
    async for request in requests:
        if request.WhichOneof("message") == "header":
            return request.header
        break
    raise InvalidArgument(Reason.INVALID_FIELD, "the first message of an upload must hold its header", field="header")


async def chunks_of(requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The chunks after the header. Raises InvalidArgument (INVALID_FIELD) if another header comes."""
    async for request in requests:
        if request.WhichOneof("message") != "chunk":
            raise InvalidArgument(
                Reason.INVALID_FIELD, "only the first message of an upload may hold a header", field="header"
            )
        yield request.chunk
