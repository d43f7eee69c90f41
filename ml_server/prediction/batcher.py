"""Runs networks for many calls at a time: small ones at once, larger ones on threads, together where that pays."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from ml_server.engines.engine import Features, Outputs
from servicekit.errors import Reason, ResourceExhausted

# What takes less runs where it is asked for: a hand-over to a thread costs others more than the wait.
INLINE_MICROSECONDS = 1_000.0
# What a hand-over costs, and so what being computed together has to save.
HANDOVER_MICROSECONDS = 150.0
# A batch takes no longer than this if its calls need not: those that come meanwhile wait for its end.
BATCH_MICROSECONDS = 20_000.0
WAIT_SECONDS = 500e-6
MAX_INLINE_ROWS = 1 << 20


class Network(Protocol):
    """What computes, and knows about how long it takes."""

    def run(self, features: Features) -> Outputs:
        """Outputs (N, outputs) for features (N, columns); may be called in several threads at a time."""
        ...

    @property
    def inline_rows(self) -> int:
        """As the function of this name says, kept."""
        ...

    def expected_microseconds(self, rows: int) -> float:
        """About what `run` takes with this many rows, at least 1."""
        ...


@dataclass(slots=True)  # not frozen: each call makes one
class Computed:
    """Outputs (N, outputs) of a call, with the nanoseconds that it waited and that the network took."""

    outputs: Outputs
    waited: int
    network: int


class Batcher:
    """Computes the outputs of calls, each of which gets its own rows.

    One network has no more than all but one of the threads, so that a flood of calls of it leaves others one.
    """

    def __init__(self, threads: int, max_waiting_bytes: int) -> None:
        """`max_waiting_bytes` is how many bytes of features may wait for one network."""
        self._pool = ThreadPoolExecutor(threads, "network")
        self._at_a_time = max(1, threads - 1)
        self._max_waiting_bytes = max_waiting_bytes
        self._lanes: WeakKeyDictionary[Network, _Lane] = WeakKeyDictionary()

    async def run(self, network: Network, features: Features) -> Computed:
        """The outputs for features (N, columns). A call that is cancelled while it waits is never computed.

        Raises:
            ResourceExhausted: LIMIT_EXCEEDED with a time to wait, if too much waits for this network already.
        """
        if len(features) <= network.inline_rows:
            return run_inline(network, features)
        lane = self._lanes.get(network)
        if lane is None:
            lane = self._lanes[network] = _Lane(self._pool, self._at_a_time, self._max_waiting_bytes)
        return await lane.run(network, features)

    def close(self) -> None:
        """Ends the threads; called when no call is left, which is after a drain."""
        self._pool.shutdown(wait=False)


def run_inline(network: Network, features: Features) -> Computed:
    """Computes where it is asked for, for calls of up to `network.inline_rows`."""
    began = time.perf_counter_ns()
    outputs = network.run(features)
    return Computed(outputs, 0, time.perf_counter_ns() - began)


def inline_rows(network: Network) -> int:
    """With how many rows a call still runs where it is asked for, to a power of two; 0 if even a single one does not.

    It has to be quick, and to save little by being computed with others.
    """
    rows = 0
    while rows < MAX_INLINE_ROWS:
        more = max(1, 2 * rows)
        if network.expected_microseconds(more) > INLINE_MICROSECONDS:
            break
        if _saved_microseconds(network, more) > HANDOVER_MICROSECONDS:
            break
        rows = more
    return rows


def _saved_microseconds(network: Network, rows: int) -> float:
    """What two calls of so many rows take less if they are one."""
    return 2 * network.expected_microseconds(rows) - network.expected_microseconds(2 * rows)


@dataclass(eq=False)
class _Call:
    features: Features
    future: asyncio.Future[Computed]
    came: int = field(default_factory=time.perf_counter_ns)


class _Lane:
    """The calls of one network, first come first served."""

    def __init__(self, pool: ThreadPoolExecutor, at_a_time: int, max_waiting_bytes: int) -> None:
        self._pool = pool
        self._at_a_time = at_a_time
        self._max_waiting_bytes = max_waiting_bytes
        self._calls: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._running = 0
        self._last_calls = 1
        """How many calls the last batch had: about so many clients are at it, and will come again together."""
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, network: Network, features: Features) -> Computed:
        """As Batcher says."""
        if self._calls and self._waiting_bytes + features.nbytes > self._max_waiting_bytes:
            raise self._full(network)
        call = _Call(features, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._waiting_bytes += features.nbytes
        self._consider(network)
        try:
            return await call.future
        except asyncio.CancelledError:
            if call in self._calls:
                self._calls.remove(call)
                self._waiting_bytes -= features.nbytes
            raise

    def _full(self, network: Network) -> ResourceExhausted:
        rows = sum(len(call.features) for call in self._calls)
        seconds = network.expected_microseconds(rows) / 1e6 / self._at_a_time
        return ResourceExhausted(
            Reason.LIMIT_EXCEEDED,
            f"{len(self._calls)} calls with {rows} rows wait for this version already, as many as the server keeps: "
            "try again later, or with fewer at a time",
            retry_after_seconds=max(0.01, seconds),
        )

    def _consider(self, network: Network) -> None:
        """Starts what may start now, or decides to wait a little for those who will want the same."""
        if not self._calls or self._running >= self._at_a_time:
            return
        if len(self._calls) >= self._last_calls:
            self._start(network)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._start, network)

    def _start(self, network: Network) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._calls:  # those that were waited with have left
            self._last_calls = 1
            return
        calls = self._next_calls(network)
        self._running += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, _compute, network, calls)
        work.add_done_callback(lambda done: self._finished(network, calls, done))

    def _next_calls(self, network: Network) -> list[_Call]:
        """The first call, and those behind it that it pays to compute with it."""
        calls: list[_Call] = []
        rows = 0
        while self._calls:
            more = rows + len(self._calls[0].features)
            if calls and (
                network.expected_microseconds(more) > BATCH_MICROSECONDS
                or _saved_microseconds(network, max(1, more // 2)) < HANDOVER_MICROSECONDS
            ):
                break
            call = self._calls.popleft()
            self._waiting_bytes -= call.features.nbytes
            calls.append(call)
            rows = more
        return calls

    def _finished(
        self, network: Network, calls: list[_Call], done: "asyncio.Future[list[Computed | Exception]]"
    ) -> None:
        self._running -= 1
        self._last_calls = len(calls)
        for call, result in zip(calls, done.result(), strict=True):
            if call.future.done():  # cancelled meanwhile
                continue
            if isinstance(result, Exception):
                call.future.set_exception(result)
            else:
                call.future.set_result(result)
        self._consider(network)


def _compute(network: Network, calls: Sequence[_Call]) -> list[Computed | Exception]:
    """The result of each call, in a thread. If they fail together each is tried alone: it may be one's fault."""
    began = time.perf_counter_ns()
    try:
        together = calls[0].features if len(calls) == 1 else np.concatenate([call.features for call in calls])
        outputs = network.run(together)
    except Exception as error:
        if len(calls) == 1:
            return [error]
        return [result for call in calls for result in _compute(network, [call])]
    network_time = time.perf_counter_ns() - began
    ends = np.cumsum([len(call.features) for call in calls])
    return [
        Computed(outputs[end - len(call.features) : end], began - call.came, network_time)
        for call, end in zip(calls, ends, strict=True)
    ]
