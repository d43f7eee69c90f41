"""Interceptors around the handlers of a server, put there once: gRPC itself would do it anew at each call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from servicekit.rpc.interceptor import given, receive


@dataclass(frozen=True)
class _Method(grpc.HandlerCallDetails):
    """A method without a call: what is composed outlives every call and its token."""

    method: str
    invocation_metadata: Any = ()


class InterceptedServices(grpc.GenericRpcHandler):
    """Where generated code puts its handlers instead of into a server; then, as one handler of all, what serves them.

    For methods that a server knows in advance gRPC keeps a task each, and looks at all of these at each call, which
    takes a quarter of a millisecond with 67 of them. So there are none, and each call is looked up.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}
        """By path, such as `/flare.ml.v1.ModelService/GetModel`."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Called by generated code, which says the same again in a form that can be read."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Called by generated code with a service's handlers by name."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    async def intercept(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        """Puts interceptors around all handlers, the first one outermost. What one decides it knows by the method."""
        for path, handler in self._handlers.items():
            for interceptor in reversed(interceptors):
                handler = await interceptor.intercept_service(partial(given, handler), _Method(path))
            self._handlers[path] = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Called by gRPC for each call, in the call's task."""
        receive(handler_call_details.invocation_metadata)
        return self._handlers.get(handler_call_details.method)
