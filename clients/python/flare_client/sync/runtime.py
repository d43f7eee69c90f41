"""What differs between the two clients: this is the blocking side, `flare_client.aio.runtime` the other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, ParamSpec, Protocol, TypeVar

import grpc
from grpc import (
    Channel,
    StreamUnaryMultiCallable,
    UnaryStreamMultiCallable,
    UnaryUnaryMultiCallable,
)

Lock = threading.Lock
sleep = time.sleep

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Stream = Generator[T, None, None]
Source = Iterable[T]

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


P = ParamSpec("P")


def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Does the work where it is called: only an event loop must not wait for it."""
    return work(*args, **kwargs)


class Silence(Exception):
    """A stream brought nothing for too long."""


class MessageCall(Protocol[T_co]):
    """A call that brings messages."""

    def __iter__(self) -> Iterator[T_co]: ...
    def cancel(self) -> bool | None: ...


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Channel:
    """A channel to the address, in plain text without credentials. Connects at its first call."""
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def messages(call: MessageCall[T], silence_seconds: float | None) -> Stream[T]:
    """The messages of a call, which ends with this iterator. Raises Silence if none comes for so long."""
    watchdog = _Watchdog(silence_seconds, call.cancel)
    try:
        watchdog.expect()
        for message in call:
            watchdog.rest()
            yield message
            watchdog.expect()
    except grpc.RpcError:
        if watchdog.has_fired:
            raise Silence from None
        raise
    finally:
        watchdog.stop()
        call.cancel()


def each(source: Source[T]) -> Stream[T]:
    """The items of an iterable."""
    yield from source


class Outbox(Iterator[T]):
    """Requests for a call to send, in the order in which they were put."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def put(self, item: T) -> None:
        """Lets the call send it."""
        self._items.put(item)

    def close(self) -> None:
        """Says that there will be no more."""
        self._items.put(None)

    def __next__(self) -> T:
        item = self._items.get()
        if item is None:
            raise StopIteration
        return item


class _Watchdog:
    """Calls back once when something that is expected does not happen in time: a blocking read has no timeout."""

    def __init__(self, seconds: float | None, on_silence: Callable[[], object]) -> None:
        self.has_fired = False
        self._seconds = seconds
        self._on_silence = on_silence
        self._deadline: float | None = None
        self._stopped = False
        self._changed = threading.Condition()
        if seconds is not None:
            threading.Thread(target=self._watch, name="flare-watchdog", daemon=True).start()

    def expect(self) -> None:
        """Starts to count."""
        if self._seconds is not None:
            with self._changed:
                self._deadline = time.monotonic() + self._seconds
                self._changed.notify()

    def rest(self) -> None:
        """Stops counting."""
        with self._changed:
            self._deadline = None

    def stop(self) -> None:
        """Ends the watch."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._stopped:
                if self._deadline is None:
                    self._changed.wait()
                elif time.monotonic() >= self._deadline:
                    self.has_fired = True
                    break
                else:
                    self._changed.wait(self._deadline - time.monotonic())
        if self.has_fired:
            self._on_silence()
