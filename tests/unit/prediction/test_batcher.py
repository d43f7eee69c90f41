"""Calls that are computed together get their own rows; what is cancelled is not computed, what is too much refused."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_server.engines.engine import Features, Outputs
from ml_server.prediction import batcher as batching
from ml_server.prediction.batcher import Batcher, Computed
from servicekit.errors import ResourceExhausted

SLOW = 5_000.0


class Doubler:
    """A network that gives each number twice as large, and says that a call costs the same however many rows it has."""

    def __init__(self, call_microseconds: float = SLOW, row_microseconds: float = 1.0) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self._call, self._row = call_microseconds, row_microseconds
        self._open = threading.Event()
        self._open.set()
        self.entered = threading.Semaphore(0)

    def run(self, features: Features) -> Outputs:
        """Computes when it is let."""
        self.entered.release()
        assert self._open.wait(10)
        self.threads.add(threading.current_thread().name)
        self.batches.append(features[:, 0].astype(int).tolist())
        if (features < 0).any():
            raise RuntimeError("a number is negative")
        return features * 2

    def expected_microseconds(self, rows: int) -> float:
        """As it was told."""
        return self._call + rows * self._row

    @property
    def inline_rows(self) -> int:
        """As the batcher decides."""
        return batching.inline_rows(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is computed while the block runs."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


@asynccontextmanager
async def batcher(threads: int = 2, waiting_bytes: int = 1 << 20) -> AsyncIterator[Batcher]:
    made = Batcher(threads, waiting_bytes)
    yield made
    made.close()


def rows(*numbers: int) -> Features:
    return np.array(numbers, np.float32)[:, None]


async def held_call(made: Batcher, network: Doubler) -> "asyncio.Task[Computed]":
    """A call that the network works on."""
    first = asyncio.create_task(made.run(network, rows(0)))
    await asyncio.to_thread(network.entered.acquire)
    return first


async def test_a_quick_network_computes_where_it_is_asked() -> None:
    network = Doubler(call_microseconds=5.0)
    async with batcher() as made:
        computed = await made.run(network, rows(1, 2))
    np.testing.assert_array_equal(computed.outputs, rows(2, 4))
    assert network.threads == {threading.current_thread().name}
    assert computed.waited == 0


async def test_calls_that_wait_for_the_same_network_are_computed_together() -> None:
    network = Doubler()
    async with batcher() as made:
        with network.held():
            first = await held_call(made, network)
            others = [asyncio.create_task(made.run(network, rows(n, n))) for n in (1, 2, 3)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *others)
    assert network.batches == [[0], [1, 1, 2, 2, 3, 3]]
    for number, task in zip((1, 2, 3), others, strict=True):
        np.testing.assert_array_equal(task.result().outputs, rows(2 * number, 2 * number))
        assert task.result().waited > 0


async def test_calls_are_computed_one_by_one_where_that_costs_no_more() -> None:
    network = Doubler(call_microseconds=0.0, row_microseconds=SLOW)
    async with batcher() as made:
        with network.held():
            first = await held_call(made, network)
            others = [asyncio.create_task(made.run(network, rows(n))) for n in (1, 2)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *others)
    assert network.batches == [[0], [1], [2]]


async def test_a_cancelled_call_is_not_computed() -> None:
    network = Doubler()
    async with batcher() as made:
        with network.held():
            first = await held_call(made, network)
            left, stays = (asyncio.create_task(made.run(network, rows(n))) for n in (1, 2))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.wait([left])
        await asyncio.gather(first, stays)
    assert left.cancelled()
    assert network.batches == [[0], [2]]


async def test_a_call_that_leaves_while_it_is_computed_harms_no_other() -> None:
    network = Doubler()
    async with batcher() as made:
        with network.held():
            first = await held_call(made, network)
            first.cancel()
            await asyncio.wait([first])
        np.testing.assert_array_equal((await made.run(network, rows(4))).outputs, rows(8))


async def test_one_call_that_fails_does_not_fail_those_beside_it() -> None:
    network = Doubler()
    async with batcher() as made:
        with network.held():
            first = await held_call(made, network)
            good, bad = (asyncio.create_task(made.run(network, rows(n))) for n in (7, -1))
            await asyncio.sleep(0)
        await asyncio.wait([first, good, bad])
    np.testing.assert_array_equal(good.result().outputs, rows(14))
    with pytest.raises(RuntimeError, match="negative"):
        bad.result()


async def test_what_waits_is_bounded_and_the_refusal_says_when_to_come_again() -> None:
    network = Doubler()
    async with batcher(waiting_bytes=8) as made:
        with network.held():
            first = await held_call(made, network)
            waiting = [asyncio.create_task(made.run(network, rows(n))) for n in (1, 2)]
            await asyncio.sleep(0)
            with pytest.raises(ResourceExhausted, match="2 calls with 2 rows wait") as refused:
                await made.run(network, rows(3))
            assert refused.value.retry_after_seconds is not None
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            waiting.append(asyncio.create_task(made.run(network, rows(4))))
            await asyncio.sleep(0)
        await asyncio.gather(first, *waiting[1:])
    assert network.batches == [[0], [2, 4]]


async def test_a_flood_of_one_network_leaves_a_thread_to_another() -> None:
    flooded, other = Doubler(), Doubler()
    async with batcher() as made:
        with flooded.held():
            flood = [asyncio.create_task(made.run(flooded, rows(n))) for n in range(50)]
            await asyncio.to_thread(flooded.entered.acquire)
            np.testing.assert_array_equal((await made.run(other, rows(1))).outputs, rows(2))
            assert not any(call.done() for call in flood)
        await asyncio.gather(*flood)


async def test_clients_that_came_together_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Doubler()
    monkeypatch.setattr(batching, "WAIT_SECONDS", 60.0)
    async with batcher() as made:
        with network.held():
            first = await held_call(made, network)
            together = [asyncio.create_task(made.run(network, rows(n))) for n in (1, 2, 3)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *together)
        again = [asyncio.create_task(made.run(network, rows(n))) for n in (4, 5)]
        await asyncio.sleep(0)
        assert network.batches == [[0], [1, 2, 3]]
        again.append(asyncio.create_task(made.run(network, rows(6))))
        await asyncio.gather(*again)
        assert network.batches == [[0], [1, 2, 3], [4, 5, 6]]
        monkeypatch.setattr(batching, "WAIT_SECONDS", 1e-6)
        # The one that comes alone is waited with for a moment only, and the next one after it not at all.
        np.testing.assert_array_equal((await made.run(network, rows(7))).outputs, rows(14))
        np.testing.assert_array_equal((await made.run(network, rows(8))).outputs, rows(16))
    assert network.batches[3:] == [[7], [8]]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_each_of_64_clients_gets_the_rows_that_are_its_own(data: st.DataObject) -> None:
    plans = data.draw(
        st.lists(
            st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=4), min_size=64, max_size=64
        )
    )
    networks = [Doubler(call_microseconds=cost) for cost in (5.0, SLOW, SLOW)]

    async def client(made: Batcher, number: int) -> None:
        for call, (count, leaves) in enumerate(plans[number]):
            asked = rows(*(number * 1000 + call * 100 + at for at in range(count)))
            task = asyncio.create_task(made.run(networks[number % 3], asked))
            if leaves:
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    continue
            np.testing.assert_array_equal((await task).outputs, asked * 2)

    async def all_clients() -> None:
        async with batcher(threads=3, waiting_bytes=1 << 30) as made:
            await asyncio.gather(*(client(made, number) for number in range(64)))

    asyncio.run(all_clients())
