"""The outermost interceptor: turns errors into statuses, and counts, times and logs every call."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import structlog
from grpc_status import rpc_status
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from servicekit.errors import FlareError, Internal, Reason
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

    async def answered(self, response: Awaitable[Any], context: Context, method_name: str) -> Any:
        """Waits for the answer and observes how the call ends."""
        async with self._observed(context, method_name):
            return await response

    async def streamed(self, responses: AsyncIterator[Any], context: Context, method_name: str) -> AsyncIterator[Any]:
        """Passes the answers on and observes how the stream ends."""
        async with self._observed(context, method_name), aclosing(responses):  # type: ignore[type-var]
            async for response in responses:
                yield response

    @asynccontextmanager
    async def _observed(self, context: Context, method: str) -> AsyncIterator[None]:
        structlog.contextvars.bind_contextvars(rpc=method, peer=context.peer())
        began = time.perf_counter()
        code = grpc.StatusCode.OK
        self._running.labels(method).inc()
        try:
            yield
        except FlareError as error:
            status = rpc_status.to_status(status_message(error))
            code = status.code
            log.info("rpc_refused", code=code.name, reason=error.reason.value, message=error.message)
            await context.abort_with_status(status)
        except grpc.aio.AbortError:
            code = grpc.StatusCode(context.code()) if context.code() else grpc.StatusCode.UNKNOWN
            raise  # already a status: abort() works by raising
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("rpc_broke")
            failure = Internal(Reason.INTERNAL, "internal error; the server's log has the cause")
            await context.abort_with_status(rpc_status.to_status(status_message(failure)))
        finally:
            self._running.labels(method).dec()
            self._calls.labels(method, code.name).inc()
            self._seconds.labels(method).observe(time.perf_counter() - began)
            log.debug("rpc_ended", code=code.name, milliseconds=round((time.perf_counter() - began) * 1e3, 2))
