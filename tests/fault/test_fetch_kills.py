"""The scraper service is killed, or the network to it breaks, while the ML service fetches rows: none is lost."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest
from flare.scraper.v1 import dataset_view_pb2

from ml_server.composition import scraper_channel
from ml_server.settings import Settings
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache
from ml_server.views.scraper import ScraperClient
from ml_server.views.values import Part, PartHeader, RowBatch, View
from servicekit.identity import DELEGATE_SCOPE
from tests.fault.breaking_link import BreakingLink, breaking_link
from tests.server.scraper.scraper_process import caller_at, key_set, started
from tests.tokens import ALL_SCOPES, TokenIssuer

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

ROWS = 400_000  # 32 MB: more than what is on its way at a time
OWNER = "accounts/ann"


class Recorded:
    """Notes from which batch on each part was asked for."""

    def __init__(self, client: ScraperClient) -> None:
        self.asked: list[tuple[Part, int]] = []
        self._client = client

    async def batches(
        self, owner: str, view: View, part: Part, start_batch: int
    ) -> AsyncIterator[PartHeader | RowBatch]:
        self.asked.append((part, start_batch))
        async for received in self._client.batches(owner, view, part, start_batch):
            yield received


async def made_view(directory: Path, port: int, issuer: TokenIssuer) -> str:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(ROWS, 9)), columns=[f"x{at}" for at in range(9)])
    frame["y"] = random.normal(size=ROWS)
    frame.to_parquet(directory / "table.parquet")
    async with caller_at(port, issuer, directory) as ann:
        content = (directory / "table.parquet").read_bytes()
        dataset = await ann.upload(content, file_name="table.parquet")
        target = dataset_view_pb2.ColumnSelection(column="y", role=dataset_view_pb2.COLUMN_ROLE_TARGET)
        split = dataset_view_pb2.Split(train_fraction=0.8, validation_fraction=0.1, test_fraction=0.1, seed=4)
        view = await ann.viewed(dataset, dataset_view_pb2.DatasetView(columns=[target], split=split))
        return str(view.name)


def client_at(address: str, issuer: TokenIssuer, directory: Path) -> tuple[ScraperClient, grpc.aio.Channel]:
    async def token() -> str:
        return issuer.token("services/ml", f"{ALL_SCOPES} {DELEGATE_SCOPE}")

    channel = scraper_channel(Settings(scraper_address=address, data_directory=directory))
    return ScraperClient(channel, token), channel


Break = Callable[[], Awaitable[None]]


async def assert_fetched_whole(
    directory: Path, issuer: TokenIssuer, address: str, name: str, broken_address: str, break_it: Break
) -> None:
    """Fetches a view twice, once with a break in the middle of the training rows, and finds equal files."""
    files = []
    for number, at in enumerate((address, broken_address)):
        client, channel = client_at(at, issuer, directory)
        source, heard = Recorded(client), list[int]()

        async def progress(rows: int, cached: bool, heard: list[int] = heard, breaks: bool = bool(number)) -> None:
            heard.append(rows)
            if breaks and len(heard) == 3:
                await break_it()

        view = await client.get_for(OWNER, name)
        fetched = await FetchedViews(FolderCache(directory / f"cache-{number}", 10**9), source).fetch(
            OWNER, view, progress
        )
        assert heard == sorted(set(heard))
        assert heard[-1] == view.total_rows == ROWS
        folder = fetched.files[Part.TRAIN].parent
        files.append({each.name: each.read_bytes() for each in folder.iterdir() if not each.name.startswith(".")})
        await channel.close()
    train = [start for part, start in source.asked if part is Part.TRAIN]
    assert train[0] == 0
    assert train[1] >= 3, "it goes on after what it has"
    assert train == sorted(train)
    assert len([part for part, _ in source.asked if part is not Part.TRAIN]) == 2
    assert files[0] == files[1]


async def test_the_scraper_service_is_killed_in_mid_fetch_and_started_again(
    token_issuer: TokenIssuer, tmp_path: Path
) -> None:
    async with key_set(token_issuer) as keys:
        process, port = await started(tmp_path, JWKS_URL=keys)
        name = await made_view(tmp_path, port, token_issuer)
        running = [process]

        async def kill() -> None:
            running[0].kill()
            await running[0].wait()
            again, _ = await started(tmp_path, JWKS_URL=keys, LISTEN_ADDRESS=f"127.0.0.1:{port}")
            running.append(again)

        address = f"127.0.0.1:{port}"
        await assert_fetched_whole(tmp_path, token_issuer, address, name, address, kill)
        running[-1].terminate()
        assert await running[-1].wait() == 0


@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_the_network_breaks_in_mid_fetch(token_issuer: TokenIssuer, tmp_path: Path, how: str) -> None:
    async with key_set(token_issuer) as keys:
        process, port = await started(tmp_path, JWKS_URL=keys)
        name = await made_view(tmp_path, port, token_issuer)
        async with breaking_link(port) as link:

            async def break_it() -> None:
                _break(link, how)

            await assert_fetched_whole(tmp_path, token_issuer, f"127.0.0.1:{port}", name, link.address, break_it)
        process.terminate()
        assert await process.wait() == 0


def _break(link: BreakingLink, how: str) -> None:
    if how == "cut":
        link.cut(refusals=2)
    else:
        link.fall_silent()
