"""Steps that are gone through to their end, although whoever waits for them is cancelled."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def uninterrupted(step: Awaitable[Result]) -> Result:
    """Lets a step end before a cancelled task leaves it, however often it is cancelled."""
    running = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()  # told to nobody: whoever would hear it has left
        raise cancelled
    return running.result()
