"""`python -m scraper_server` as a process, and the keys by which it knows its callers."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import jwt
from aiohttp import web

from tests.server.scraper.scraper_calls import Caller, Server
from tests.tokens import ISSUER, TokenIssuer


@asynccontextmanager
async def key_set(issuer: TokenIssuer) -> AsyncIterator[str]:
    """The address of the issuer's public keys."""
    key = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(issuer.key.public_key()))
    application = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"keys": [key | {"kid": "test-key", "alg": "EdDSA", "use": "sig"}]})

    application.router.add_get("/jwks.json", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}/jwks.json"
    await runner.cleanup()


async def started(directory: Path, **settings: str) -> tuple[asyncio.subprocess.Process, int]:
    """A server process, and its port once it says that it has one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE")}
    given = {"LISTEN_ADDRESS": "127.0.0.1:0", "DATA_DIRECTORY": str(directory), "TOKEN_ISSUER": ISSUER, **settings}
    environment |= {f"FLARE_SCRAPER_{name}": value for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scraper_server"), stderr=subprocess.PIPE, env=environment
    )
    assert process.stderr is not None
    async for line in process.stderr:
        entry = json.loads(line)
        if entry["event"] == "server_started":
            return process, entry["port"]
    raise AssertionError("the server did not start")


@asynccontextmanager
async def caller_at(port: int, issuer: TokenIssuer, directory: Path) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Server(channel, issuer, directory, port).caller("accounts/ann")
