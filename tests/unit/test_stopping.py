"""Work in a thread ends with whoever waits for it."""

import asyncio
import threading

import pytest

from servicekit.stopping import Stopped, Stopping, in_thread


async def test_the_result_and_the_error_of_work_come_back() -> None:
    assert await in_thread(lambda stopping: 7) == 7

    def fail(stopping: Stopping) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await in_thread(fail)


async def test_work_ends_before_a_cancelled_caller_goes_on() -> None:
    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    goes_on = threading.Event()
    ended = threading.Event()

    def work(stopping: Stopping) -> None:
        loop.call_soon_threadsafe(began.set)
        goes_on.wait()
        try:
            stopping.check()
        except Stopped:
            ended.set()
            raise

    task = asyncio.create_task(in_thread(work))
    await began.wait()
    task.cancel()
    loop.call_soon(goes_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
