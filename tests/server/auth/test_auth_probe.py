"""The health probe of containers, against a server that is up, drains, and is gone."""

import asyncio

import pytest

from servicekit import probe
from tests.server.auth.conftest import AuthServer


async def test_probe_follows_the_servers_health(server: AuthServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(probe.main, [server.address]) == 0
    await server.service.rpc.drain()
    assert await asyncio.to_thread(probe.main, [server.address, "--timeout-seconds", "1"]) == 1
    assert f"{server.address} is not healthy" in capsys.readouterr().err
