"""Work in processes of its own: results, reports, refusals, and a sudden end."""

import asyncio
import errno
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import uvloop

from scraper_server.processes import NICENESS, Processes
from servicekit.errors import Internal, InvalidArgument, Reason, ResourceExhausted, Unavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")


def doubled(number: int) -> int:
    return 2 * number


def niceness() -> int:
    return os.nice(0)


def reporting(steps: int, report: Callable[..., None]) -> int:
    for step in range(steps):
        report(step, steps)
        time.sleep(0.02)
    return steps


def refusing() -> None:
    raise InvalidArgument(Reason.FILE_EMPTY, "nothing there", field="file")


def breaking() -> None:
    raise RuntimeError("secret path /etc/passwd")


def filling() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def dying() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def endless(path: Path) -> None:
    path.write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def large() -> bytes:
    return bytes(20_000_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[Processes]:
    made = Processes(2)
    await made.start()
    yield made
    await made.drain()


async def test_results_come_back_and_work_goes_side_by_side(processes: Processes) -> None:
    assert await asyncio.gather(*(processes.run(doubled, number) for number in range(5))) == [0, 2, 4, 6, 8]


async def test_work_leaves_the_processor_to_the_server(processes: Processes) -> None:
    assert await processes.run(niceness) == min(os.nice(0) + NICENESS, 19)


async def test_reports_arrive_in_order_and_thinned_out(processes: Processes) -> None:
    told: list[tuple[int, int]] = []
    assert await processes.run(reporting, 20, report=lambda *step: told.append(step)) == 20
    assert told[0] == (0, 20)
    assert told == sorted(told)
    assert 2 <= len(told) < 20


async def test_refusals_keep_all_they_say(processes: Processes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await processes.run(refusing)
    assert caught.value.reason is Reason.FILE_EMPTY
    assert [violation.field for violation in caught.value.violations] == ["file"]


async def test_a_fault_says_nothing_of_our_insides(processes: Processes) -> None:
    with pytest.raises(Internal) as caught:
        await processes.run(breaking)
    assert "passwd" not in caught.value.message


async def test_a_full_disk_is_said_plainly(processes: Processes) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        await processes.run(filling)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    assert "disk is full" in caught.value.message


async def test_a_process_that_dies_is_noticed_at_once(processes: Processes) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable) as caught:
            await processes.run(dying)
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE


async def test_cancelled_work_is_killed(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    task = asyncio.create_task(processes.run(endless, path))
    async with asyncio.timeout(10):
        while not path.exists() or not path.read_text():  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(int(path.read_text()))
    assert await processes.run(doubled, 1) == 2


async def test_a_large_result_arrives_whole_in_the_loop_that_services_run() -> None:
    """uvloop makes descriptors that it watches non-blocking, and a result larger than a pipe comes in pieces."""

    async def answer() -> bytes:
        processes = Processes(1)
        await processes.start()
        return await processes.run(large)

    assert len(await asyncio.to_thread(uvloop.run, answer())) == 20_000_000
