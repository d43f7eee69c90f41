"""What differs between the two clients: this is the asynchronous side, `flare_client.sync.runtime` the other.

Everything else of `flare_client.sync` is made from `flare_client.aio` by `tools/make_sync_client.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing as closing
from typing import Any, TypeVar

import grpc
from grpc.aio import (
    Channel,
    StreamStreamCall,
    StreamUnaryMultiCallable,
    UnaryStreamCall,
    UnaryStreamMultiCallable,
    UnaryUnaryMultiCallable,
)

Lock = asyncio.Lock
sleep = asyncio.sleep
in_thread = asyncio.to_thread

T = TypeVar("T")
Stream = AsyncGenerator[T, None]
Source = AsyncIterable[T] | Iterable[T]
MessageCall = UnaryStreamCall[Any, T] | StreamStreamCall[Any, T]

__all__ = [
    "Channel",
    "Lock",
    "MessageCall",
    "Outbox",
    "Silence",
    "Source",
    "Stream",
    "StreamUnaryMultiCallable",
    "UnaryStreamMultiCallable",
    "UnaryUnaryMultiCallable",
    "closing",
    "each",
    "in_thread",
    "messages",
    "open_channel",
    "sleep",
]


class Silence(Exception):
    """A stream brought nothing for too long."""


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Channel:
    """A channel to the address, in plain text without credentials. Connects at its first call."""
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, credentials, options)


async def messages(call: MessageCall[T], silence_seconds: float | None) -> Stream[T]:
    """The messages of a call, which ends with this iterator. Raises Silence if none comes for so long."""
    try:
        while True:
            try:
                async with asyncio.timeout(silence_seconds):
                    message = await call.read()
            except TimeoutError:
                raise Silence from None
            if message is grpc.aio.EOF:
                return
            yield message  # type: ignore[misc]  # EOF is an object of a type that has no public name
    finally:
        call.cancel()


async def each(source: Source[T]) -> Stream[T]:
    """The items of either kind of iterable."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


class Outbox(AsyncIterator[T]):
    """Requests for a call to send, in the order in which they were put."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[T | None] = asyncio.Queue()

    def put(self, item: T) -> None:
        """Lets the call send it."""
        self._items.put_nowait(item)

    def close(self) -> None:
        """Says that there will be no more."""
        self._items.put_nowait(None)

    async def __anext__(self) -> T:
        item = await self._items.get()
        if item is None:
            raise StopAsyncIteration
        return item
