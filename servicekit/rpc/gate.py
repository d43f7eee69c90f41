"""Holds calls back while gRPC is told to stop, so that each of them is answered or never begun."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from servicekit.rpc.interceptor import CallInterceptor, Context, Method


class Gate(CallInterceptor):
    """Calls go through it; while it is shut they wait before it.

    When gRPC is told to stop it cancels the calls that it has not handed to a handler yet, and those that clients send
    before they hear of it (grpc/grpc#41785). A client that waits for an answer sends nothing. So the gate is shut for
    a moment before: calls on their way come to it, and clients hear that they must leave before they get an answer.
    """

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Shuts it until the block ends."""
        self._opened.clear()
        try:
            yield
        finally:
            self._opened.set()

    def unary(self, method: Method, name: str) -> Method:
        """As CallInterceptor says."""

        def call(request: Any, context: Context) -> Awaitable[Any]:
            return method(request, context) if self._opened.is_set() else self._held(method, request, context)

        return call

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Context, method_name: str
    ) -> Any:
        """As CallInterceptor says; messages of streams are left alone."""
        await self._opened.wait()
        response = method(request_or_iterator, context)
        return response if hasattr(response, "__aiter__") else await response

    async def _held(self, method: Method, request: Any, context: Context) -> Any:
        await self._opened.wait()
        return await method(request, context)
