"""Chores are done again and again, and one that fails does not stop the others."""

import asyncio

from auth_server.housekeeping import Housekeeping


async def test_chores_go_on_after_one_failed() -> None:
    rounds: asyncio.Queue[str] = asyncio.Queue()

    async def fails() -> None:
        await rounds.put("fails")
        raise OSError("the database is away")

    async def works() -> None:
        await rounds.put("works")

    housekeeping = Housekeeping([fails, works], interval_seconds=0.001)
    await housekeeping.start()
    assert [await rounds.get() for _ in range(4)] == ["fails", "works", "fails", "works"]
    await housekeeping.drain()
    done = rounds.qsize()
    await asyncio.sleep(0.01)
    assert rounds.qsize() == done


async def test_ending_before_the_start_is_fine() -> None:
    await Housekeeping([]).drain()
