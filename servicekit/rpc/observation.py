"""The outermost interceptor: turns errors into statuses, and counts, times and logs every call."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from types import TracebackType
from typing import Any

import grpc
import structlog
from grpc_status import rpc_status
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from servicekit.errors import FlareError, Internal, Reason
from servicekit.logs import bind_call
from servicekit.rpc.interceptor import CallInterceptor, Context
from servicekit.rpc.status import status_message

log = structlog.get_logger()

# 100 microseconds to 100 seconds, five steps a decade.
LATENCY_BUCKETS = [10 ** (exponent / 5) for exponent in range(-20, 11)]


class ObservationInterceptor(CallInterceptor):
    """Nothing of our insides leaves: an unexpected error is INTERNAL to the caller, and whole in the log."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._calls = Counter("flare_rpc_calls", "Calls by their end", ["method", "code"], registry=registry)
        self._seconds = Histogram(
            "flare_rpc_seconds",
            "From request to the last answer",
            ["method"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self._running = Gauge("flare_rpc_running", "Calls under way", ["method"], registry=registry)
        self._figures: dict[str, _Figures] = {}

    async def answered(self, response: Awaitable[Any], context: Context, method_name: str) -> Any:
        """Waits for the answer and observes how the call ends."""
        async with _Observed(self._figures_of(method_name), context):
            return await response

    async def streamed(self, responses: AsyncIterator[Any], context: Context, method_name: str) -> AsyncIterator[Any]:
        """Passes the answers on and observes how the stream ends."""
        async with _Observed(self._figures_of(method_name), context), aclosing(responses):  # type: ignore[type-var]
            async for response in responses:
                yield response

    def _figures_of(self, method: str) -> "_Figures":
        figures = self._figures.get(method)
        if figures is None:
            running, seconds = self._running.labels(method), self._seconds.labels(method)
            figures = self._figures[method] = _Figures(method, self._calls, running, seconds)
        return figures


class _Figures:
    """The figures of one method. To look their labels up takes longer than to count."""

    def __init__(self, method: str, calls: Counter, running: Gauge, seconds: Histogram) -> None:
        self.method = method
        self.running = running
        self.seconds = seconds
        self._calls = calls
        self._by_code: dict[grpc.StatusCode, Counter] = {}

    def ended(self, code: grpc.StatusCode, seconds: float) -> None:
        """Counts a call that has ended."""
        calls = self._by_code.get(code)
        if calls is None:
            calls = self._by_code[code] = self._calls.labels(self.method, code.name)
        calls.inc()
        self.running.dec()
        self.seconds.observe(seconds)


class _Observed:
    """A call under way: what happens in the block becomes its status, is counted and, if it matters, logged."""

    __slots__ = ("_began", "_context", "_figures")

    def __init__(self, figures: _Figures, context: Context) -> None:
        self._figures = figures
        self._context = context

    async def __aenter__(self) -> None:
        bind_call(self._figures.method, self._context)
        self._began = time.perf_counter()
        self._figures.running.inc()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = grpc.StatusCode.OK
        try:
            if error is not None:
                code, status = _end_of(error, self._context)
                if status is not None:
                    await self._context.abort_with_status(status)
        finally:
            seconds = time.perf_counter() - self._began
            self._figures.ended(code, seconds)
            log.debug("rpc_ended", code=code.name, milliseconds=round(seconds * 1e3, 2))


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
