"""One service: calls that carry a token, renew it when it ended, and try again where that is safe."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import grpc

from flare_client.aio.runtime import (
    Channel,
    MessageCall,
    Silence,
    Stream,
    StreamUnaryMultiCallable,
    UnaryStreamMultiCallable,
    UnaryUnaryMultiCallable,
    closing,
    messages,
    sleep,
)
from flare_client.aio.tokens import TokenSource
from flare_client.backoff import Patience
from flare_client.errors import FlareError, error_of_call, is_away, is_expired_token, is_interruption

CALL_SECONDS = 30.0
UPLOAD_SECONDS = 3600.0
RETRY_SECONDS = 4.0  # a person who forgot to start the services should not wait longer to hear it
SILENCE_SECONDS = 45.0  # three heartbeats
REATTACH_SECONDS = 600.0

Request = TypeVar("Request")
Response = TypeVar("Response")

Metadata = tuple[tuple[str, str], ...]
OnInterruption = Callable[[FlareError], object]


class Service:
    """A channel to one service, and how to call over it."""

    def __init__(self, name: str, address: str, channel: Channel, tokens: TokenSource | None) -> None:
        """Without `tokens` calls are anonymous, as those that log in must be."""
        self.name = name
        self.address = address
        self.channel = channel
        self._tokens = tokens

    async def call(
        self,
        method: UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        safe: bool,
        seconds: float = CALL_SECONDS,
    ) -> Response:
        """Calls a unary method. `safe` says that a second call does no harm; they take at most `seconds` together.

        Raises:
            FlareError: The call failed.
        """

        async def once(metadata: Metadata, left: float) -> Response:
            return await method(request, timeout=left, metadata=metadata)

        return await self._tried(once, safe=safe, seconds=seconds)

    async def send(
        self,
        method: StreamUnaryMultiCallable[Request, Response],
        requests: Callable[[], Iterator[Request]],
        *,
        safe: bool,
        seconds: float = UPLOAD_SECONDS,
    ) -> Response:
        """Calls a method that takes a stream; `requests()` begins it anew at each try, together at most `seconds`.

        Raises:
            FlareError: The call failed.
        """

        async def once(metadata: Metadata, left: float) -> Response:
            return await method(requests(), timeout=left, metadata=metadata)

        return await self._tried(once, safe=safe, seconds=seconds)

    def receive(
        self,
        method: UnaryStreamMultiCallable[Request, Response],
        next_request: Callable[[], Request],
        *,
        on_interruption: OnInterruption | None = None,
    ) -> Stream[Response]:
        """The messages of a stream, opened again with `next_request()` when it breaks, until it ends well.

        The caller makes `next_request` ask for what did not come yet.

        Raises:
            FlareError: As `attached` does.
        """
        return self.attached(
            lambda metadata: method(next_request(), metadata=metadata), on_interruption=on_interruption
        )

    async def attached(
        self, open_call: Callable[[Metadata], MessageCall[Response]], *, on_interruption: OnInterruption | None = None
    ) -> Stream[Response]:
        """The messages of a call, opened anew when it breaks, until it ends well.

        A call breaks when its connection does, when the server drains, when the token ends, and when nothing comes for
        45 s while the caller waits.

        Raises:
            FlareError: The service refused, or nothing could be received for 10 minutes.
        """
        patience = Patience(REATTACH_SECONDS)
        token, stale = "", ""
        while True:
            try:
                token, metadata = await self._authorization(stale)
                async with closing(messages(open_call(metadata), SILENCE_SECONDS)) as stream:
                    async for message in stream:
                        patience.succeeded()
                        stale = ""
                        yield message
                return
            except Silence:
                error = FlareError(
                    grpc.StatusCode.UNAVAILABLE,
                    "",
                    f"the {self.name} service at {self.address} sent nothing for {SILENCE_SECONDS:.0f} s",
                )
            except grpc.RpcError as raw:
                error = self.error_of(raw)
                error.__cause__ = raw
            except FlareError as failure:  # no token: the auth service may be away as well
                error = failure
            if is_expired_token(error) and not stale:
                stale = token
                continue
            wait = patience.next_wait(error.retry_after) if is_interruption(error) else None
            if wait is None:
                raise error
            if on_interruption is not None:
                on_interruption(error)
            await sleep(wait)

    def error_of(self, error: grpc.RpcError) -> FlareError:
        """The error of a call to this service."""
        return error_of_call(error, self.name, self.address)

    async def _tried(
        self, once: Callable[[Metadata, float], Awaitable[Response]], *, safe: bool, seconds: float
    ) -> Response:
        deadline = time.monotonic() + seconds
        patience = Patience(RETRY_SECONDS)
        stale = ""
        while True:
            token, metadata = await self._authorization(stale)
            try:
                return await once(metadata, max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as raw:
                error = self.error_of(raw)
                error.__cause__ = raw
            if is_expired_token(error) and not stale:
                stale = token
                continue
            wait = patience.next_wait(error.retry_after) if safe and is_away(error) else None
            if wait is None:
                raise error
            await sleep(wait)

    async def _authorization(self, stale: str = "") -> tuple[str, Metadata]:
        """A token other than the stale one, and what a call presents of it."""
        if self._tokens is None:
            return "", ()
        if stale:
            await self._tokens.renew(stale)
        token = await self._tokens.current()
        return token, (("authorization", f"Bearer {token}"),)
