"""How long a training waits for its first batch, of a view that is on another service or on this disk already."""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from flare.scraper.v1 import dataset_view_pb2 as view_pb
from flare.scraper.v1 import scraper_service_pb2 as pb

from benchmarks.figures import Figure
from benchmarks.scraper_process import running_scraper
from benchmarks.sizes import Sizes
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.training.plans import TrainingPlan
from ml_server.training.preparation import prepare, prepared_key
from ml_server.training.task import Provenance, TrainingTask
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache
from ml_server.views.scraper import MESSAGE_BYTES, ScraperClient
from ml_server.views.values import View

COLUMNS = 32
BATCH_ROWS = 512
COLD_SECONDS = 1.0
CACHED_SECONDS = 0.1
OWNER = "accounts/ann"
MEMORY_BYTES = 4 << 30


def first_batch_cold(sizes: Sizes) -> Figure:
    """From asking for a view to the first batch: its rows come from the scraper service over loopback."""
    seconds = asyncio.run(_measured(sizes, is_cached=False))
    return Figure.of_cost("first_batch_cold", seconds, "s", "the limit", COLD_SECONDS)


def first_batch_cached(sizes: Sizes) -> Figure:
    """The same for the next job on the view and the specification."""
    seconds = asyncio.run(_measured(sizes, is_cached=True))
    return Figure.of_cost("first_batch_cached", seconds, "s", "the limit", CACHED_SECONDS)


@dataclass(frozen=True)
class _Served:
    """A view at a scraper service, and the client that asks for it."""

    client: ScraperClient
    view: View

    async def first_batch(self, root: Path) -> float:
        """Seconds to the first batch of a job whose cache is at `root`."""
        start = time.perf_counter()
        cache = FolderCache(root, 1 << 40)
        view = await self.client.get_for(OWNER, self.view.name)
        specification = ModelSpecification(architecture=MlpSpecification(hidden_units=(8,)))
        made = prepared_key(view.digest, view.weight, specification.preprocessing, None)
        with await FetchedViews(cache, self.client).fetch(OWNER, view, _unheard, made) as rows:
            task = TrainingTask(
                specification=specification,
                plan=TrainingPlan(batch_size=BATCH_ROWS),
                inputs=view.inputs,
                targets=view.targets,
                files=rows.files,
                cache=cache,
                memory_bytes=MEMORY_BYTES,
                initial_weights=None,
                checkpoints=root / "checkpoints",
                output=root / "version",
                threads=1,
                provenance=Provenance("job", view.name, view.digest),
                logged_epochs=0,
            )
            prepared = prepare(task)
        batch = next(prepared.train.shuffled_batches(BATCH_ROWS, torch.Generator()))
        seconds = time.perf_counter() - start
        if len(batch) < min(BATCH_ROWS, len(prepared.train)) or batch.features.shape[1] != COLUMNS:
            raise RuntimeError(f"the first batch has the shape {tuple(batch.features.shape)}")
        return seconds


async def _measured(sizes: Sizes, *, is_cached: bool) -> float:
    """The median of all runs, without a first one, in which both sides load what they need."""
    seconds = []
    async with _served(sizes.first_batch_rows) as (served, directory):
        root = directory / "cache"
        await served.first_batch(root)
        for _ in range(sizes.runs):
            if not is_cached:
                await asyncio.to_thread(shutil.rmtree, root)
            seconds.append(await served.first_batch(root))
    return statistics.median(seconds)


@asynccontextmanager
async def _served(rows: int) -> AsyncIterator[tuple[_Served, Path]]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = directory / "numbers.parquet"
        random = np.random.default_rng(7)
        arrays: dict[str, Any] = {f"x{at}": random.normal(size=rows) for at in range(COLUMNS)}
        kinds = np.array(["a", "b"])[random.integers(0, 2, rows)]
        pq.write_table(pa.table(arrays | {"y": kinds}), source, use_dictionary=False, compression="none")
        del arrays
        async with running_scraper(directory) as scraper:
            dataset = await scraper.upload(source)
            target = view_pb.ColumnSelection(column="y", role=view_pb.COLUMN_ROLE_TARGET)
            split = view_pb.Split(train_fraction=0.8, validation_fraction=0.1, test_fraction=0.1)
            view = view_pb.DatasetView(columns=[target], split=split)
            request = pb.CreateDatasetViewRequest(parent=dataset.name, view=view)
            made = await scraper.stub.CreateDatasetView(request, metadata=scraper.metadata)
            token = scraper.metadata[0][1].removeprefix("Bearer ")

            async def service_token() -> str:
                return token

            options = [("grpc.max_receive_message_length", MESSAGE_BYTES)]
            async with grpc.aio.insecure_channel(scraper.address, options=options) as channel:
                client = ScraperClient(channel, service_token)
                yield _Served(client, await client.get_for(OWNER, made.name)), directory


async def _unheard(rows: int, cached: bool) -> None:
    """Nobody is told of progress."""
