"""Several interceptors as one, composed once for each method: at each call gRPC would make a handler for each anew."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from servicekit.rpc.interceptor import given

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


@dataclass(frozen=True)
class _Method(grpc.HandlerCallDetails):
    """A method without a call: what is composed outlives the call that it was composed at, and its token."""

    method: str
    invocation_metadata: Any = ()


class ComposedInterceptor(grpc.aio.ServerInterceptor):
    """The outermost first. What an interceptor decides it may know by the method alone."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
        self._composed: dict[str, tuple[Any, Any]] = {}
        """By method: the handler, and what it is inside of all interceptors."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Called by gRPC for each call."""
        handler = await continuation(handler_call_details)
        known = self._composed.get(handler_call_details.method)
        if known is not None and known[0] is handler:
            return known[1]
        composed = handler
        for interceptor in reversed(self._interceptors):
            composed = await interceptor.intercept_service(
                partial(given, composed), _Method(handler_call_details.method)
            )
        if handler is not None:  # anybody can think of names that there are not
            self._composed[handler_call_details.method] = (handler, composed)
        return composed
