"""Answers come in order, no more is in flight than allowed, and nothing goes on after a failure or a cancel."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ml_server.prediction.pipeline import Limits, in_order


class Work:
    """Doubles numbers when it is told to."""

    def __init__(self, count: int) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.may_end = [asyncio.Event() for _ in range(count)]
        self.count = count
        self.items_failure: Exception | None = None

    async def items(self) -> AsyncIterator[int]:
        for item in range(self.count):
            yield item
        if self.items_failure is not None:
            raise self.items_failure

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        try:
            await self.may_end[item].wait()
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        if item == 3:
            raise ValueError("the fourth is faulty")
        return 2 * item


async def collect(answers: AsyncIterator[int], found: list[int]) -> None:
    """Takes answers as long as they come."""
    async for answer in answers:
        found.append(answer)  # noqa: PERF401  # those before a failure count


async def turns() -> None:
    """Lets all that can go on do so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_answers_keep_the_order_of_their_items_whichever_ends_first() -> None:
    work = Work(3)
    answers = in_order(work.items(), work, lambda _: 1, Limits(8, 100))
    first = asyncio.ensure_future(anext(answers))
    await turns()
    assert work.begun == [0, 1, 2]
    for item in (2, 1):
        work.may_end[item].set()
    await turns()
    assert not first.done()
    work.may_end[0].set()
    assert [await first, *[answer async for answer in answers]] == [0, 2, 4]


@pytest.mark.parametrize(
    ("limits", "size", "expected"), [(Limits(2, 100), 1, 2), (Limits(8, 10), 5, 2), (Limits(8, 10), 99, 1)]
)
async def test_no_more_is_in_flight_than_allowed(limits: Limits, size: int, expected: int) -> None:
    work = Work(3)
    answers = in_order(work.items(), work, lambda _: size, limits)
    first = asyncio.ensure_future(anext(answers))
    await turns()
    assert len(work.begun) == expected
    for event in work.may_end:
        event.set()
    assert await first == 0
    await turns()
    assert len(work.begun) == expected, "an answer that nobody has taken yet still counts"
    assert [answer async for answer in answers] == [2, 4]


async def test_a_failure_comes_after_the_answers_before_it_and_ends_the_rest() -> None:
    work = Work(6)
    for item in range(4):
        work.may_end[item].set()
    answers, found = in_order(work.items(), work, lambda _: 1, Limits(8, 100)), list[int]()
    with pytest.raises(ValueError, match="the fourth is faulty"):
        await collect(answers, found)
    assert found == [0, 2, 4]
    assert sorted(work.cancelled) == [4, 5]


async def test_a_failure_of_the_items_comes_after_the_answers_to_them() -> None:
    work = Work(2)
    work.items_failure = ConnectionError("cut")
    for event in work.may_end:
        event.set()
    answers, found = in_order(work.items(), work, lambda _: 1, Limits(8, 100)), list[int]()
    with pytest.raises(ConnectionError, match="cut"):
        await collect(answers, found)
    assert found == [0, 2]


async def test_who_leaves_ends_the_work() -> None:
    work = Work(3)
    answers = in_order(work.items(), work, lambda _: 1, Limits(8, 100))
    work.may_end[0].set()
    assert await anext(answers) == 0
    await turns()
    await answers.aclose()
    assert sorted(work.cancelled) == [1, 2]
