"""Row streams of a server process: what they hold of its memory and its files, read quickly or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from flare.scraper.v1 import dataset_view_pb2 as view_pb
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.server.scraper.scraper_calls import Caller, eventually
from tests.server.scraper.scraper_process import caller_at, key_set, started

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
COLUMNS = 32
SMALL_ROWS, MORE_ROWS, LARGE_ROWS = 40_000, 150_000, 400_000  # 10, 39 and 103 MB
LAYOUTS = (pb.VIEW_LAYOUT_COLUMNS, pb.VIEW_LAYOUT_FEATURES)
MEBIBYTE = 1 << 20


@dataclass
class Running:
    """A server process with a caller who has a view of few rows and one of many."""

    caller: Caller
    process: psutil.Process
    small: view_pb.DatasetView
    large: view_pb.DatasetView

    def open(self, view: view_pb.DatasetView, layout: "pb.ViewLayout.ValueType" = pb.VIEW_LAYOUT_COLUMNS) -> Any:
        """The call that streams the training rows."""
        request = pb.StreamViewRequest(name=view.name, part=view_pb.SPLIT_PART_TRAIN, layout=layout)
        return self.caller.stub.StreamView(request, metadata=self.caller.metadata, timeout=60)

    def memory(self) -> int:
        """Bytes that the process holds."""
        resident: int = self.process.memory_info().rss
        return resident

    def parts_open(self) -> int:
        """Files of views that it has open."""
        descriptors = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return sum(".arrow" in str(each.readlink()) for each in descriptors if each.is_symlink())


def parquet(rows: int) -> bytes:
    random = np.random.default_rng(rows)
    columns: dict[str, Any] = {f"x{at}": random.normal(size=rows) for at in range(COLUMNS)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"row": np.arange(rows)} | columns), sink, use_dictionary=False, compression="none")
    return sink.getvalue().to_pybytes()


async def made(caller: Caller, rows: int) -> view_pb.DatasetView:
    """A view whose training rows are all of so many, in order."""
    dataset = await caller.upload(parquet(rows))
    target = view_pb.ColumnSelection(column="row", role=view_pb.COLUMN_ROLE_TARGET)
    return await caller.viewed(dataset, view_pb.DatasetView(columns=[target], split=view_pb.Split(train_fraction=1)))


@asynccontextmanager
async def running(issuer: "TokenIssuer", directory: Path) -> AsyncIterator[Running]:
    async with key_set(issuer) as keys:
        process, port = await started(directory, JWKS_URL=keys)
        assert process.stderr is not None
        log = asyncio.create_task(process.stderr.read())  # a full pipe would stop it
        async with caller_at(port, issuer, directory) as caller:
            small, large = await made(caller, SMALL_ROWS), await made(caller, LARGE_ROWS)
            yield Running(caller, psutil.Process(process.pid), small, large)
        process.terminate()
        await process.wait()
        await log


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(token_issuer: "TokenIssuer", tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(token_issuer, tmp_path_factory.mktemp("stream")) as server:
        yield server


async def peak_of(server: Running, view: view_pb.DatasetView, layout: "pb.ViewLayout.ValueType") -> int:
    """What the process holds at most while a view is streamed."""
    peak = rows = 0
    async for message in server.open(view, layout):
        rows += message.batch.row_count
        peak = max(peak, server.memory())
    assert rows == view.row_counts.train
    return peak


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_memory_is_flat_in_the_size_of_the_view(server: Running, layout: "pb.ViewLayout.ValueType") -> None:
    few = await peak_of(server, server.small, layout)
    many = await peak_of(server, server.large, layout)
    assert many - few < 40 * MEBIBYTE


async def test_readers_that_wait_hold_little_and_those_that_left_nothing(server: Running) -> None:
    await peak_of(server, server.large, pb.VIEW_LAYOUT_COLUMNS)
    before = server.memory()
    calls = [server.open(server.large) for _ in range(10)]
    for call in calls:
        await call.read()
        await call.read()
    assert server.parts_open() == len(calls)
    await peak_of(server, server.large, pb.VIEW_LAYOUT_COLUMNS)  # those that wait do not stand in anybody's way
    assert server.memory() - before < len(calls) * 12 * MEBIBYTE  # of 103 MB each
    for call in calls:
        call.cancel()
    await eventually(lambda: server.parts_open() == 0)


async def test_a_stream_ends_whole_though_its_view_is_deleted_meanwhile(server: Running) -> None:
    view = await made(server.caller, MORE_ROWS)
    call = server.open(view)
    header = (await call.read()).header
    dataset = view.name.split("/views/")[0]
    await server.caller.call("DeleteDataset", pb.DeleteDatasetRequest(name=dataset, force=True))
    assert server.parts_open() == 1  # it is still being read
    schema = pa.ipc.read_schema(pa.py_buffer(header.arrow_schema))
    next_row = 0
    while (message := await call.read()) is not grpc.aio.EOF:
        rows = pa.ipc.read_record_batch(pa.py_buffer(message.batch.arrow_batch), schema)
        assert rows["row"].to_numpy()[[0, -1]].tolist() == [next_row, next_row + len(rows) - 1]
        next_row += len(rows)
    assert next_row == MORE_ROWS
    request = pb.StreamViewRequest(name=view.name, part=view_pb.SPLIT_PART_TRAIN)
    refusal = await server.caller.refused("StreamView", request)
    assert refusal.code is grpc.StatusCode.NOT_FOUND
