"""What the tests of accounts and tokens share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from argon2 import PasswordHasher

from auth_server.accounts.passwords import Passwords


class Clock:
    """A clock that moves when told to; `seconds` is Unix time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passwords() -> Passwords:
    """As in service, with the cheapest hash that argon2 allows."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ServeHttp = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve_http() -> AsyncIterator[ServeHttp]:
    """Serves a handler for every path on a loopback port, a free one unless told, and returns the address."""
    async with AsyncExitStack() as stack:

        async def serve(handler: Handler, port: int = 0) -> str:
            async def answer(request: web.Request) -> web.StreamResponse:
                return await handler(request)

            app = web.Application()
            app.router.add_route("*", "/{tail:.*}", answer)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", port).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        yield serve
