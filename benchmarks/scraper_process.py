"""A scraper server as a process of its own, and callers of it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import jwt
from aiohttp import web
from flare.scraper.v1 import dataset_pb2, scraper_service_pb2_grpc
from flare.scraper.v1 import scraper_service_pb2 as pb

from servicekit.identity import DELEGATE_SCOPE
from tests.tokens import ALL_SCOPES, ISSUER, TokenIssuer

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 3600
# A caller of the benchmarks may be a person or another service.
SCOPES = f"{ALL_SCOPES} {DELEGATE_SCOPE}"


@dataclass(frozen=True)
class RunningScraper:
    """Where it listens, and a caller's stub and metadata."""

    process_id: int
    address: str
    stub: "scraper_service_pb2_grpc.ScraperServiceAsyncStub"
    metadata: tuple[tuple[str, str], ...]

    async def upload(self, source: Path) -> dataset_pb2.Dataset:
        """The data set that the server makes of a file."""
        return await self.stub.UploadDataset(_messages(source), metadata=self.metadata, timeout=TIMEOUT_SECONDS)


@asynccontextmanager
async def running_scraper(directory: Path, **settings: object) -> AsyncIterator[RunningScraper]:
    """A server on a free port of loopback. `settings` are FLARE_SCRAPER_*, in lower case."""
    issuer = TokenIssuer()
    async with _key_set(issuer) as keys:
        process, port = await _started(directory, jwks_url=keys, **settings)
        address = f"127.0.0.1:{port}"
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = scraper_service_pb2_grpc.ScraperServiceStub(channel)
                yield RunningScraper(process.pid, address, stub, issuer.metadata(scope=SCOPES, seconds=7200))
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def _started(directory: Path, **settings: object) -> tuple[asyncio.subprocess.Process, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE")}
    given = {"listen_address": "127.0.0.1:0", "data_directory": directory, "token_issuer": ISSUER, **settings}
    environment |= {f"FLARE_SCRAPER_{name.upper()}": str(value) for name, value in given.items()}
    with (directory / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scraper_server"), stderr=log, env=environment
        )
    while process.returncode is None:
        for line in (directory / "server.log").read_text().splitlines():
            if '"server_started"' in line:
                return process, json.loads(line)["port"]
        await asyncio.sleep(0.05)
    raise RuntimeError((directory / "server.log").read_text())


def _messages(source: Path) -> Iterator[pb.UploadDatasetRequest]:
    yield pb.UploadDatasetRequest(header=pb.UploadHeader(file_name=source.name, size_bytes=source.stat().st_size))
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield pb.UploadDatasetRequest(chunk=chunk)


@asynccontextmanager
async def _key_set(issuer: TokenIssuer) -> AsyncIterator[str]:
    """The address of the issuer's public keys."""
    key = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(issuer.key.public_key()))
    document = {"keys": [key | {"kid": "test-key", "alg": "EdDSA", "use": "sig"}]}
    application = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    application.router.add_get("/jwks.json", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}/jwks.json"
    await runner.cleanup()
