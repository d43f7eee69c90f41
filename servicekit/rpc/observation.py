"""The outermost interceptor: turns errors into statuses, and counts, times and logs every call."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from grpc_status import rpc_status
from prometheus_client import REGISTRY, CollectorRegistry

from servicekit.errors import FlareError, Internal, Reason
from servicekit.logs import bind_call
from servicekit.rpc.call_metrics import CallMetrics, MethodFigures
from servicekit.rpc.interceptor import CallInterceptor, Context, Method
from servicekit.rpc.status import status_message

log = structlog.get_logger()


class ObservationInterceptor(CallInterceptor):
    """Nothing of our insides leaves: an unexpected error is INTERNAL to the caller, and whole in the log."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._metrics = CallMetrics()
        registry.register(self._metrics)
        self._tells_all = log.is_enabled_for(logging.DEBUG)

    def unary(self, method: Method, name: str) -> Method:
        """As CallInterceptor says."""
        figures = self._metrics.of(name)

        async def call(request: Any, context: Context) -> Any:
            with _Observed(figures, name, context, self._tells_all) as observed:
                try:
                    return await method(request, context)
                except BaseException as error:
                    await observed.fails(error)
                    raise

        return call

    async def answered(self, response: Awaitable[Any], context: Context, method_name: str) -> Any:
        """Waits for the answer and observes how the call ends."""
        with _Observed(self._metrics.of(method_name), method_name, context, self._tells_all) as observed:
            try:
                return await response
            except BaseException as error:
                await observed.fails(error)
                raise

    async def streamed(self, responses: AsyncIterator[Any], context: Context, method_name: str) -> AsyncIterator[Any]:
        """Passes the answers on and observes how the stream ends."""
        with _Observed(self._metrics.of(method_name), method_name, context, self._tells_all) as observed:
            try:
                async with aclosing(responses):  # type: ignore[type-var]
                    async for response in responses:
                        yield response
            except BaseException as error:
                await observed.fails(error)
                raise


class _Observed:
    """A call under way: how it ends becomes its status, is counted and, if it matters, logged."""

    __slots__ = ("_began", "_code", "_context", "_figures", "_tells")

    def __init__(self, figures: MethodFigures, method: str, context: Context, tells: bool) -> None:
        self._figures = figures
        self._tells = tells
        self._context = context
        self._code = "OK"
        bind_call(method, context)

    def __enter__(self) -> "_Observed":
        self._figures.running += 1
        self._began = time.perf_counter()
        return self

    async def fails(self, error: BaseException) -> None:
        """Sends the status that an error means."""
        code, status = _end_of(error, self._context)
        self._code = code.name
        if status is not None:
            await self._context.abort_with_status(status)

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._began
        self._figures.ended(self._code, seconds)
        if self._tells:
            log.debug("rpc_ended", code=self._code, milliseconds=round(seconds * 1e3, 2))


def _end_of(error: BaseException, context: Context) -> tuple[grpc.StatusCode, grpc.Status | None]:
    """The code that a call ends with by an error, and the status to send if gRPC does not make one itself."""
    match error:
        case FlareError():
            status = rpc_status.to_status(status_message(error))
            log.info("rpc_refused", code=status.code.name, reason=error.reason.value, message=error.message)
            return status.code, status
        case grpc.aio.AbortError():  # already a status: abort() works by raising
            return grpc.StatusCode(context.code()) if context.code() else grpc.StatusCode.UNKNOWN, None
        case asyncio.CancelledError() | GeneratorExit():
            return grpc.StatusCode.CANCELLED, None
        case Exception():
            log.error("rpc_broke", exc_info=error)
            failure = Internal(Reason.INTERNAL, "internal error; the server's log has the cause")
            return grpc.StatusCode.INTERNAL, rpc_status.to_status(status_message(failure))
        case _:
            return grpc.StatusCode.UNKNOWN, None
