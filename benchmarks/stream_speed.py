"""What streaming the rows of a view takes: time beside Arrow Flight, and memory of the server."""

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from flare.scraper.v1 import dataset_view_pb2 as view_pb
from flare.scraper.v1 import scraper_service_pb2 as pb
from pyarrow import flight

from benchmarks.figures import Figure
from benchmarks.scraper_process import RunningScraper, running_scraper
from benchmarks.sizes import Sizes

COLUMNS, FEATURES = pb.VIEW_LAYOUT_COLUMNS, pb.VIEW_LAYOUT_FEATURES
MEMORY_LIMIT_BYTES = 64 << 20


def stream_view(sizes: Sizes) -> Figure:
    """Arrow bytes a second of StreamView, column by column, beside Flight's DoGet of the same batches."""
    return asyncio.run(_speed("stream_view", sizes, COLUMNS))


def stream_view_features(sizes: Sizes) -> Figure:
    """The same with the features as one row-major matrix, which the server makes while it streams."""
    return asyncio.run(_speed("stream_view_features", sizes, FEATURES))


def stream_view_memory(sizes: Sizes) -> Figure:
    """What the server holds at most while it streams a view, above what it held before."""
    grown = asyncio.run(_memory(sizes))
    return Figure.of_cost(
        "stream_view_memory", float(max(grown, 1)), "bytes", "64 MiB, whatever the size", float(MEMORY_LIMIT_BYTES)
    )


@dataclass(frozen=True)
class _Viewed:
    """A server with a view whose training rows are all, and the Arrow file that holds them."""

    scraper: RunningScraper
    name: str
    file: Path

    async def read(self, layout: "pb.ViewLayout.ValueType", peak: list[int] | None = None) -> pa.Table:
        """The rows, from the first call to the last byte; `peak` takes what the server held meanwhile."""
        request = pb.StreamViewRequest(name=self.name, part=view_pb.SPLIT_PART_TRAIN, layout=layout)
        schema, batches = pa.schema([]), []
        async for message in self.scraper.stub.StreamView(request, metadata=self.scraper.metadata):
            if message.HasField("header"):
                schema = pa.ipc.read_schema(pa.py_buffer(message.header.arrow_schema))
            else:
                batches.append(pa.ipc.read_record_batch(pa.py_buffer(message.batch.arrow_batch), schema))
            if peak is not None:
                peak.append(self.memory())
        return pa.Table.from_batches(batches, schema)

    def memory(self) -> int:
        """Bytes that the server holds."""
        resident: int = psutil.Process(self.scraper.process_id).memory_info().rss
        return resident


@asynccontextmanager
async def _viewed(sizes: Sizes) -> AsyncIterator[_Viewed]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = directory / "numbers.parquet"
        random = np.random.default_rng(7)
        arrays: dict[str, Any] = {f"x{at}": random.normal(size=sizes.stream_rows) for at in range(sizes.columns - 1)}
        table = pa.table(arrays | {"y": random.integers(0, 2, sizes.stream_rows)})
        pq.write_table(table, source, use_dictionary=False, compression="none")
        del arrays, table
        async with running_scraper(directory) as scraper:
            dataset = await scraper.upload(source)
            target = view_pb.ColumnSelection(column="y", role=view_pb.COLUMN_ROLE_TARGET)
            view = view_pb.DatasetView(columns=[target], split=view_pb.Split(train_fraction=1))
            request = pb.CreateDatasetViewRequest(parent=dataset.name, view=view)
            made = await scraper.stub.CreateDatasetView(request, metadata=scraper.metadata)
            yield _Viewed(scraper, made.name, _file_of_part(directory))


def _file_of_part(directory: Path) -> Path:
    return next(directory.rglob("train.arrow"))


async def _speed(figure: str, sizes: Sizes, layout: "pb.ViewLayout.ValueType") -> Figure:
    async with _viewed(sizes) as viewed:
        with _flight_server(viewed.file) as address:
            if not (await viewed.read(COLUMNS)).equals(_read_flight(address)):
                raise RuntimeError("the two sides stream different rows")
            rates: tuple[list[float], list[float]] = ([], [])
            for _ in range(sizes.runs):
                start = time.perf_counter()
                table = await viewed.read(layout)
                rates[0].append(table.nbytes / 1e9 / (time.perf_counter() - start))
                start = time.perf_counter()
                table = await asyncio.to_thread(_read_flight, address)
                rates[1].append(table.nbytes / 1e9 / (time.perf_counter() - start))
    value, reference = (statistics.median(each) for each in rates)
    return Figure.of_rate(figure, value, "GB/s", "Arrow Flight DoGet of the same rows", reference)


async def _memory(sizes: Sizes) -> int:
    async with _viewed(sizes) as viewed:
        before = viewed.memory()
        peak: list[int] = []
        for layout in (COLUMNS, FEATURES):
            await viewed.read(layout, peak)
        return max(peak) - before


def _read_flight(address: str) -> pa.Table:
    with flight.connect(address) as client:
        table: pa.Table = client.do_get(flight.Ticket(b"")).read_all()
        return table


@contextmanager
def _flight_server(file: Path) -> Iterator[str]:
    """The address of a process that serves the batches of a file."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve_flight, args=(theirs, file), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _serve_flight(started: Connection, file: Path) -> None:
    server = _FlightServer(file)
    started.send(f"grpc://127.0.0.1:{server.port}")
    server.serve()


class _FlightServer(flight.FlightServerBase):
    """Serves the batches of one file, from memory."""

    def __init__(self, file: Path) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._table = pa.ipc.open_file(pa.OSFile(str(file), mode="r")).read_all()

    def do_get(self, context: Any, ticket: flight.Ticket) -> flight.FlightDataStream:
        return flight.RecordBatchStream(self._table)
