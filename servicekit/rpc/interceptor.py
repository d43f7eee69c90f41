"""What every interceptor here shares: it sees calls of all four kinds through the same three places."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Any

import grpc
from grpc.aio import ServicerContext
from grpc_interceptor.server import AsyncServerInterceptor

Context = ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[Any]]
"""What answers a request without streams."""
Metadata = Iterable[tuple[str, str | bytes]]

_received: ContextVar[Metadata | None] = ContextVar("flare_metadata", default=None)


def receive(metadata: Metadata) -> None:
    """Keeps the metadata of the call that the current task begins with."""
    _received.set(metadata)


def received(context: Context) -> Metadata:
    """The metadata of a call; `context` makes it anew at each look, which costs as much as all else of a token."""
    return _received.get() or context.invocation_metadata() or ()


class CallInterceptor(AsyncServerInterceptor):
    """Wraps the request, the wait for a single answer, and the stream of answers.

    The base class alone would hand a stream back before its first message, so that code around the handler would run
    before the handler does; `streamed` runs around the whole of it.
    """

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Called once for each method. Those without streams, which have to be quick, get their own way."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return await super().intercept_service(partial(given, handler), handler_call_details)  # type: ignore[no-untyped-call]
        return grpc.unary_unary_rpc_method_handler(
            self.unary(handler.unary_unary, handler_call_details.method),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def unary(self, method: Method, name: str) -> Method:
        """`method` with this interceptor around it."""
        raise NotImplementedError

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Context, method_name: str
    ) -> Any:
        """Called by grpc-interceptor for each call."""
        await self.admit(context, method_name)
        if hasattr(request_or_iterator, "__aiter__"):
            request = self._checked_stream(request_or_iterator)
        else:
            self.check(request_or_iterator)
            request = request_or_iterator
        response = method(request, context)
        if hasattr(response, "__aiter__"):
            return self.streamed(response, context, method_name)
        return await self.answered(response, context, method_name)

    async def admit(self, context: Context, method_name: str) -> None:
        """Raises if the call may not go on. Runs before anything of the request is looked at."""

    def check(self, request: Any) -> None:
        """Raises if a request message is not acceptable; called for each message of a stream."""

    async def answered(self, response: Awaitable[Any], context: Context, method_name: str) -> Any:
        """Waits for the answer."""
        return await response

    async def streamed(self, responses: AsyncIterator[Any], context: Context, method_name: str) -> AsyncIterator[Any]:
        """Passes the answers on."""
        async with aclosing(responses):  # type: ignore[type-var]  # handlers are async generators
            async for response in responses:
                yield response

    async def _checked_stream(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self.check(request)
            yield request


async def given(handler: Any, _: grpc.HandlerCallDetails) -> Any:
    """The continuation that leads to `handler`."""
    return handler
