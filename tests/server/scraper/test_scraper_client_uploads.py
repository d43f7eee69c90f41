"""The Python client sends large files: cuts cost time and no bytes, and another process goes on."""

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import flare_client
import flare_client.aio
import flare_client.aio.datasets
import flare_client.sync.datasets
import pandas as pd
import pytest
from flare_client.errors import FlareError

from tests.server.scraper.cutting_proxy import cutting_proxy
from tests.server.scraper.scraper_calls import Server, eventually

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROW = b"0123456789,0.5,blue\n"
ROWS = 190_000  # close to the server's limit of 4 MB
CONTENT = b"number,share,colour\n" + ROW * ROWS
SIZE = len(CONTENT)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is large for this test."""
    for side in (flare_client.aio.datasets, flare_client.sync.datasets):
        monkeypatch.setattr(side, "ONE_CALL_BYTES", 1_000_000)
    path = tmp_path / f"numbers-{uuid.uuid4().hex[:6]}.csv"
    path.write_bytes(CONTENT)
    return path


def received_files(scraper: Server) -> set[tuple[str, int]]:
    """The files of upload sessions, with their sizes."""
    folder = scraper.directory / "scraper-work" / "upload-sessions"
    return {(path.name, path.stat().st_size) for path in folder.iterdir()}


class Sent:
    """What the callbacks of an upload heard."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.causes: list[str] = []

    def on_progress(self, done: int, total: int) -> None:
        self.done.append(done)

    def on_interruption(self, cause: FlareError) -> None:
        self.causes.append(cause.code.name)


async def test_connections_that_break_cost_no_byte(scraper: Server, token_issuer: "TokenIssuer", table: Path) -> None:
    token = token_issuer.token(f"accounts/{uuid.uuid4().hex}")
    async with cutting_proxy(scraper.port, 1_000_000, 1_500_000, 700_000) as proxy:
        async with flare_client.aio.connect(scraper=proxy.address, token=token) as flare:
            sent = Sent()
            job = await flare.datasets.import_file(
                table, on_progress=sent.on_progress, on_interruption=sent.on_interruption
            )
            dataset = await job.wait()
        assert dataset.row_count == ROWS
        assert len(sent.causes) >= 3
        assert sent.done[-1] == SIZE
        assert proxy.connections >= 4

        proxy.cuts = [500_000, 2_000_000]

        def blocking() -> int:
            other = table.rename(table.with_name("other.csv"))
            with flare_client.connect(scraper=proxy.address, token=token) as blocking_flare:
                return blocking_flare.datasets.upload(other, dataset_id="blocking").row_count

        assert await asyncio.to_thread(blocking) == ROWS


async def test_another_process_goes_on_with_a_file_and_reads_it_differently(
    scraper: Server, token_issuer: "TokenIssuer", table: Path
) -> None:
    token = token_issuer.token(f"accounts/{uuid.uuid4().hex}")
    address = f"127.0.0.1:{scraper.port}"
    before = received_files(scraper)
    async with (
        cutting_proxy(scraper.port, 2_500_000) as proxy,
        flare_client.aio.connect(scraper=proxy.address, token=token) as flare,
    ):
        proxy.cut.clear()
        sending = asyncio.create_task(flare.datasets.import_file(table))
        await eventually(lambda: any(size >= 2_000_000 for _, size in received_files(scraper) - before))
        sending.cancel()
        proxy.cut.set()
        with pytest.raises(asyncio.CancelledError):
            await sending

    second = Sent()
    async with flare_client.aio.connect(scraper=address, token=token) as flare:
        job = await flare.datasets.import_file(table, kind="parquet", on_progress=second.on_progress)
        with pytest.raises(FlareError) as caught:
            await job.wait()
        assert caught.value.reason == "FILE_NOT_A_TABLE"
    assert second.done[0] > 2_000_000
    assert second.done[-1] == SIZE

    third = Sent()
    async with flare_client.aio.connect(scraper=address, token=token) as flare:
        job = await flare.datasets.import_file(table, on_progress=third.on_progress)
        assert (await job.wait()).row_count == ROWS
    assert third.done == [SIZE]


async def test_a_name_that_is_taken_is_refused_before_anything_is_sent(
    scraper: Server, token_issuer: "TokenIssuer", table: Path
) -> None:
    token = token_issuer.token(f"accounts/{uuid.uuid4().hex}")
    async with flare_client.aio.connect(scraper=f"127.0.0.1:{scraper.port}", token=token) as flare:
        await flare.datasets.upload(pd.DataFrame({"a": [1, 2]}), dataset_id="mine")
        sent = Sent()
        with pytest.raises(FlareError) as caught:
            await flare.datasets.import_file(table, dataset_id="mine", on_progress=sent.on_progress)
        assert caught.value.reason == "NAME_TAKEN"
        assert not sent.done


async def test_a_file_that_shrinks_while_it_is_sent_is_no_broken_connection(
    scraper: Server, token_issuer: "TokenIssuer", table: Path
) -> None:
    token = token_issuer.token(f"accounts/{uuid.uuid4().hex}")

    def shrink(done: int, total: int) -> None:
        with table.open("r+b") as file:
            file.truncate(total // 2)

    async with flare_client.aio.connect(scraper=f"127.0.0.1:{scraper.port}", token=token) as flare:
        with pytest.raises(OSError, match="ended after 1900010 of 3800020 bytes"):
            await flare.datasets.import_file(table, on_progress=shrink)

    def blocking() -> None:
        table.write_bytes(CONTENT)
        with flare_client.connect(scraper=f"127.0.0.1:{scraper.port}", token=token) as flare:
            flare.datasets.import_file(table, on_progress=shrink)

    with pytest.raises(OSError, match="ended after 1900010 of 3800020 bytes"):
        await asyncio.to_thread(blocking)
