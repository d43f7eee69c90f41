"""Methods whose messages are read or written by hand: the same on the wire, with fewer copies than protobuf makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True)
class Codec:
    """What takes the place of the generated code of one method. None leaves it in place."""

    read_request: Callable[[bytes], Any] | None = None
    write_response: Callable[[Any], bytes] | None = None


class CodecInterceptor(grpc.aio.ServerInterceptor):
    """Gives methods their codecs. It belongs innermost: those around it take over what it says."""

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        """`codecs` are by the method's path, such as `/flare.scraper.v1.ScraperService/WriteUpload`."""
        self._codecs = codecs

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Called by gRPC for each call."""
        handler: Any = await continuation(handler_call_details)
        codec = self._codecs.get(handler_call_details.method)
        if handler is None or codec is None:
            return handler
        return handler._replace(
            request_deserializer=codec.read_request or handler.request_deserializer,
            response_serializer=codec.write_response or handler.response_serializer,
        )
