"""Calls that come close together are answered together; one that comes alone does not wait."""

import asyncio
from collections.abc import Sequence

import pytest

from ml_server.prediction.gathering import MAX_LEFT_ALONE, Call, Gathering


class Doubling:
    """Answers with twice the number, and keeps what it was asked together."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def __call__(self, calls: Sequence[Call[int, int]]) -> None:
        """Settles all."""
        self.groups.append([call.request for call in calls])
        for call in calls:
            call.answer.set_result(2 * call.request)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when a test says so."""
    now = [100.0]
    monkeypatch.setattr("ml_server.prediction.gathering.time.perf_counter", lambda: now[0])
    return now


async def pass_time(clock: list[float], seconds: float, turn: float) -> None:
    """Turns of the event loop that take so long each."""
    end = clock[0] + seconds
    while clock[0] < end:
        clock[0] += turn
        await asyncio.sleep(0)


async def idle(clock: list[float], seconds: float = 0.0005) -> None:
    """Turns in which nothing happens."""
    await pass_time(clock, seconds, 0.00002)


def gathered(work: Doubling, most_calls: int = 64) -> Gathering[int, int]:
    """One that has just been asked, so that what comes next comes close."""
    made: Gathering[int, int] = Gathering(work, most_calls)
    assert not made.takes()  # the first one comes alone
    return made


async def test_those_that_come_in_time_are_answered_together(clock: list[float]) -> None:
    work = Doubling()
    made = gathered(work)
    answers = []
    for number in range(5):
        assert made.takes()
        answers.append(asyncio.ensure_future(made.answer(number)))
        await asyncio.sleep(0)
        assert not work.groups
    await idle(clock, 0.0004)
    assert not work.groups
    await idle(clock, 0.00015)
    assert work.groups == [[0, 1, 2, 3, 4]]
    assert await asyncio.gather(*answers) == [0, 2, 4, 6, 8]


async def test_those_that_have_come_while_the_loop_was_busy_are_waited_for(clock: list[float]) -> None:
    work = Doubling()
    made = gathered(work)
    answers = []
    for number in range(25):  # as each is read, the next ones wait in the socket
        assert made.takes()
        answers.append(made.answer(number))
        await pass_time(clock, 0.0001, 0.0001)
    assert [len(group) for group in work.groups] == [20]  # but for no longer than two milliseconds
    await idle(clock)
    assert await asyncio.gather(*answers) == [2 * number for number in range(25)]


async def test_as_many_as_may_be_do_not_wait(clock: list[float]) -> None:
    work = Doubling()
    made = gathered(work, most_calls=3)
    answers = []
    for number in range(6):
        assert made.takes()
        answers.append(made.answer(number))
    assert [await answer for answer in answers] == [0, 2, 4, 6, 8, 10]
    assert work.groups == [[0, 1, 2], [3, 4, 5]]


async def test_a_call_that_is_gone_is_not_answered(clock: list[float]) -> None:
    work = Doubling()
    made = gathered(work)
    answers = []
    for number in range(4):
        assert made.takes()
        answers.append(asyncio.ensure_future(made.answer(number)))
    answers[1].cancel()
    await idle(clock)
    assert await answers[3] == 6
    assert work.groups == [[0, 2, 3]]


async def test_calls_far_apart_never_wait(clock: list[float]) -> None:
    made = gathered(Doubling())
    for _ in range(100):
        clock[0] += 0.003
        assert not made.takes()


async def test_waiting_in_vain_is_tried_more_and_more_seldom(clock: list[float]) -> None:
    work = Doubling()
    made = gathered(work)
    alone, spaces = 0, []
    while len(work.groups) < 16:
        clock[0] += 0.0004
        if not made.takes():
            alone += 1
            continue
        answer = made.answer(0)
        await idle(clock)
        await answer
        spaces.append(alone)
        alone = 0
    assert spaces == [0, 0, 0, 0, *(2**power for power in range(11)), MAX_LEFT_ALONE]


async def test_a_group_that_pays_is_followed_by_another_one(clock: list[float]) -> None:
    work = Doubling()
    made = gathered(work)
    for group in range(3):
        answers = []
        for number in range(4):
            assert made.takes()
            answers.append(made.answer(number))
        await idle(clock)
        await asyncio.gather(*answers)
        assert len(work.groups) == group + 1
