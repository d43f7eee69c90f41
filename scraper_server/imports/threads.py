"""Steps on the disk that are done off the event loop, whole even if whoever waits for them is cancelled."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def settled(step: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The result of a short step in a thread. Cancelled, it ends only with the step, so that nothing comes after."""
    work = asyncio.ensure_future(asyncio.to_thread(step, *arguments, **named))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
