"""A deadline over many waits of a task: it ends the wait under way and every later one, and nothing else."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from servicekit.rpc.expiry import Expired, Expiries, Expiry


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_waits_before_the_deadline_pass_and_the_one_at_it_ends() -> None:
    expiry = Expiry(_now() + 0.05)
    assert await expiry.wait(asyncio.sleep(0, "first")) == "first"
    with pytest.raises(Expired):
        await expiry.wait(asyncio.Event().wait())
    with pytest.raises(Expired):
        await expiry.wait(asyncio.get_running_loop().create_future())
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_what_the_task_does_beside_its_waits_is_left_alone() -> None:
    expiry = Expiry(_now())
    await asyncio.sleep(0.01)  # the deadline comes here
    with pytest.raises(Expired):
        await expiry.wait(asyncio.get_running_loop().create_future())


async def test_a_step_that_fails_fails_with_its_own_error() -> None:
    async def fails() -> None:
        raise TimeoutError("of its own")

    expiry = Expiry(_now() + 60)
    with pytest.raises(TimeoutError):
        await expiry.wait(fails())
    expiry.close()


async def test_a_cancelled_task_is_cancelled() -> None:
    began = asyncio.Event()

    async def waits() -> None:
        expiry = Expiry(_now() + 60)
        began.set()
        await expiry.wait(asyncio.Event().wait())

    task = asyncio.create_task(waits())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _later(seconds: float) -> datetime:
    return datetime.fromtimestamp(time.time() + seconds, UTC)


async def test_all_waits_with_a_deadline_end_at_it() -> None:
    expiries, deadline = Expiries(), _later(0.05)
    assert await expiries.wait(deadline, asyncio.sleep(0, "first")) == "first"

    async def waits() -> None:
        with pytest.raises(Expired):
            await expiries.wait(deadline, asyncio.Event().wait())
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    other = asyncio.create_task(expiries.wait(_later(60), asyncio.Event().wait()))
    async with asyncio.timeout(30):
        await asyncio.gather(waits(), waits())
    assert not other.done()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other


async def test_a_wait_that_begins_after_the_deadline_ends_unless_it_is_done_at_once() -> None:
    expiries, deadline = Expiries(), _later(-1)

    async def answers() -> str:
        return "at once"

    assert await expiries.wait(deadline, answers()) == "at once"
    for _ in range(2):
        with pytest.raises(Expired):
            await expiries.wait(deadline, asyncio.Event().wait())
