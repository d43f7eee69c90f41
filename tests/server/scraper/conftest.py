"""A scraper server that the tests of this folder share. Each test is an owner of its own."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from tests.server.scraper.scraper_calls import Caller, Server

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scraper(token_issuer: "TokenIssuer", tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """The server that tests share."""
    directory = tmp_path_factory.mktemp("scraper")
    settings = Settings(listen_address="127.0.0.1:0", data_directory=directory, max_file_bytes=4_000_000)
    service = ScraperService(settings, token_issuer.verifier, CollectorRegistry())
    await service.prepare()
    port = await service.rpc.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Server(channel, token_issuer, directory, port)
    await service.rpc.drain()
    await service.close()


@pytest.fixture
def ann(scraper: Server) -> Caller:
    """A caller who has nothing yet."""
    return scraper.caller()


@pytest.fixture
def bob(scraper: Server) -> Caller:
    """Another caller."""
    return scraper.caller()
