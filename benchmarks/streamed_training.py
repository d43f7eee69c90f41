"""A training on a view that is more than its memory: what the worker holds, and how fast it is beside one in memory."""

import asyncio
import statistics
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from structlog.testing import capture_logs

from benchmarks.figures import Figure
from benchmarks.peers.made_networks import HIDDEN_UNITS
from benchmarks.sizes import Sizes
from ml_server.features.columns import ColumnType
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.training.events import EpochFinished
from ml_server.training.executors.local import LocalExecutor
from ml_server.training.plans import TrainingPlan
from ml_server.training.task import Failed, Finished, Provenance, Told, TrainingTask
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part, PartHeader, RowBatch, View

COLUMNS = 32
ROW_BYTES = COLUMNS * 8 + 5  # with the text of a class
BATCH_ROWS = 4096
TRAIN_BATCH_ROWS = 512
MEMORY_BYTES = 2 << 30
SHARES = {Part.TRAIN: 0.8, Part.VALIDATION: 0.1, Part.TEST: 0.1}
LOOK_SECONDS = 0.02
LIST = pa.list_(pa.field("item", pa.float64(), nullable=False), COLUMNS)


def streamed_training_memory(sizes: Sizes) -> Figure:
    """The most that the worker holds, without pages of files, from its first row to its version."""
    measured = asyncio.run(_measured(sizes.streamed_bytes, MEMORY_BYTES, epochs=1))
    return Figure.of_cost(
        "streamed_training_memory", float(measured.peak_bytes), "bytes", "2 GiB, whatever the size", float(MEMORY_BYTES)
    )


def streamed_training(sizes: Sizes) -> Figure:
    """Rows a second of the steps, beside those of the same training with all rows in memory."""
    epochs = max(2, sizes.training_epochs // 2)
    size = min(sizes.streamed_bytes, sizes.training_rows * 10 * ROW_BYTES)
    runs = [
        [asyncio.run(_measured(size, memory, epochs)).rate for memory in (size // 8, size * 8)]
        for _ in range(sizes.runs)
    ]
    value, reference = (statistics.median(each) for each in zip(*runs, strict=True))
    return Figure.of_rate("streamed_training", value, "rows/s", "the same rows in memory", reference)


def block_shuffle_accuracy(sizes: Sizes) -> Figure:
    """The share of test rows that is right after training on a table sorted by class, an eighth of it in memory."""
    size = sizes.training_rows * ROW_BYTES
    runs = [
        [asyncio.run(_measured(size, memory, 2, seed)).accuracy for memory in (size // 8, size * 8)]
        for seed in range(sizes.runs)
    ]
    value, reference = (statistics.median(each) for each in zip(*runs, strict=True))
    return Figure.of_rate("block_shuffle_accuracy", value, "of rows", "all rows shuffled in memory", reference)


@dataclass
class Measured:
    """What a training took."""

    peak_bytes: int
    rates: list[float] = field(default_factory=list)
    accuracy: float = 0.0

    @property
    def rate(self) -> float:
        """Rows a second in the steps of the epochs, without the first of several."""
        return statistics.median(self.rates[1:] or self.rates)


async def _measured(size_bytes: int, memory_bytes: int, epochs: int, seed: int = 0) -> Measured:
    rows = {part: max(1, int(share * size_bytes / ROW_BYTES)) for part, share in SHARES.items()}
    view = View("datasets/d/views/v", f"{size_bytes:064x}", INPUTS, TARGETS, rows)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        cache = FolderCache(directory / "cache", 1 << 50)
        with await FetchedViews(cache, SortedRows()).fetch("accounts/ann", view, _unheard) as fetched:
            task = TrainingTask(
                specification=ModelSpecification(architecture=MlpSpecification(hidden_units=HIDDEN_UNITS)),
                plan=TrainingPlan(batch_size=TRAIN_BATCH_ROWS, epochs=epochs, seed=seed),
                inputs=view.inputs,
                targets=view.targets,
                files=fetched.files,
                cache=cache,
                memory_bytes=memory_bytes,
                initial_weights=None,
                checkpoints=directory / "checkpoints",
                output=directory / "version",
                threads=1,
                provenance=Provenance("job", view.name, view.digest),
                logged_epochs=0,
            )
            return await _trained(task)


INPUTS = tuple(InputColumn(f"x{at}", ColumnType.FLOAT) for at in range(COLUMNS))
TARGETS = (TargetColumn("y", ColumnType.CATEGORICAL, 2),)


class Control:
    """Lets a training run to its end."""

    def __init__(self) -> None:
        self.finish_requested = asyncio.Event()
        self.is_abandoned = False


async def _trained(task: TrainingTask) -> Measured:
    executor = LocalExecutor(0)
    await executor.start()
    measured = Measured(0)
    with _Watch() as watch, capture_logs():  # standard output is for figures
        async with aclosing(executor.run(task, Control())) as messages:
            async for message in messages:
                match message:
                    case Told(events):
                        measured.rates += [
                            each.samples_per_second for each in events if isinstance(each, EpochFinished)
                        ]
                    case Finished(details):
                        found = {metric.name: metric.value for metric in details.test_metrics}
                        measured.accuracy = found["accuracy"]
                    case Failed(error):
                        raise error
                    case _:
                        raise RuntimeError(str(message))
        measured.peak_bytes = watch.peak_bytes
    await executor.drain()
    return measured


class _Watch:
    """Looks at the processes that this one starts, and notes the most that one of them holds by itself."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for process in psutil.Process().children(recursive=True):
                self.peak_bytes = max(self.peak_bytes, _held_bytes(process.pid))


def _held_bytes(process_id: int) -> int:
    """Memory of a process that is not the pages of files, which the system takes back as it needs."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    values = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return 1024 * sum(values)


class SortedRows:
    """Streams made rows as the scraper service would; each part is sorted by class."""

    def __init__(self) -> None:
        self._centres = np.random.default_rng(7).normal(scale=0.2, size=(2, COLUMNS))

    async def batches(
        self, owner: str, view: View, part: Part, start_batch: int
    ) -> AsyncIterator[PartHeader | RowBatch]:
        """As BatchSource says."""
        rows = view.rows[part]
        fields: list[Any] = [pa.field("features", LIST, nullable=False), pa.field("y", pa.string())]
        schema = pa.schema(fields)
        yield PartHeader(rows, schema.serialize().to_pybytes(), tuple(each.name for each in view.inputs))
        lists: Any = pa.FixedSizeListArray
        for index, start in enumerate(range(0, rows, BATCH_ROWS)):
            count = min(BATCH_ROWS, rows - start)
            classes = (np.arange(start, start + count) >= rows // 2).astype(int)
            noise = np.random.default_rng((list(Part).index(part), index)).normal(size=(count, COLUMNS))
            values = noise + self._centres[classes]
            arrays = [
                lists.from_arrays(pa.array(values.reshape(-1)), type=LIST),
                pa.array(np.array(["a", "b"])[classes]),
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            yield RowBatch(index, count, batch.serialize().to_pybytes())


async def _unheard(rows: int, cached: bool) -> None:
    """Nobody is told of progress."""
