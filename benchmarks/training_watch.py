"""What it costs a training that its events are written down, and that many people watch it."""

import asyncio
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from flare_client import Epoch
from sqlalchemy import MetaData

from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from benchmarks.told_worker import main as told_in_every_other_epoch
from benchmarks.training_service import training_service
from benchmarks.training_task import training_task
from benchmarks.watchers import Services, watch_when_told
from ml_server.training.events import EpochFinished, draft_of
from ml_server.training.executors.warm_workers import Worker
from ml_server.training.task import Told
from servicekit.database import Database
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.tables import job_tables
from servicekit.jobs.wakeups import Wakeups

ENDLESS_EPOCHS = 1_000_000
BATCH = 64
# A smaller cost can't be told from none.
LEAST_COST = 1e-4
EPOCHS_OF_A_SIDE = 3


def events_overhead(sizes: Sizes) -> Figure:
    """The share of a training's rate that goes when progress is told each 100 ms and written to the log.

    One training tells in every other epoch; the figure is the median over pairs of epochs that follow on each other.
    """
    rates = asyncio.run(_rates_of_epochs(sizes))[2:]
    return _share_lost("events_overhead", rates[0::2], rates[1::2], 0.01)


def watchers_overhead(sizes: Sizes) -> Figure:
    """The share of a training's rate that goes when 1,000 watchers follow it over connections of another process.

    They come and go while one training runs; the figure compares the epochs that all of them followed whole with those
    before.
    """
    plain: list[float] = []
    watched: list[float] = []
    with training_service("mlp", sizes.training_rows, sizes) as service:
        job = service.start(BATCH, ENDLESS_EPOCHS)
        epochs = job.epochs()
        next(epochs)
        where = Services(
            service.services.auth_address,
            service.services.ml_address,
            service.services.username,
            service.services.password,
        )
        with _watchers(where, job.name, sizes.watchers) as watchers:
            for _ in range(sizes.runs):
                plain.append(_rate(epochs))
                watchers.attach(job.refresh().last_sequence)
                watched.append(_rate(epochs))
                watchers.detach()
        job.cancel()
    return _share_lost("watchers_overhead", watched, plain, 0.03)


def _share_lost(figure: str, slower: list[float], faster: list[float], limit: float) -> Figure:
    lost = statistics.median(1 - slow / fast for slow, fast in zip(slower, faster, strict=True))
    return Figure.of_cost(figure, max(lost, LEAST_COST), "share of the rate", "the limit", limit)


def _rate(epochs: Iterator[Epoch]) -> float:
    """The rate of the next epochs, without the one under way."""
    next(epochs)
    return statistics.median(next(epochs).samples_per_second for _ in range(EPOCHS_OF_A_SIDE))


async def _rates_of_epochs(sizes: Sizes) -> list[float]:
    """Rows a second in each epoch of a training; odd ones are told of while they run."""
    rates = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        task = training_task(directory, sizes.training_rows // 2, BATCH, 2 + 8 * sizes.runs, sizes.training_threads)
        database = Database(f"sqlite+aiosqlite:///{directory}/jobs.db")
        metadata = MetaData()
        store = SqlJobStore(database, job_tables(metadata), "trainingJobs", Wakeups())
        async with database.write() as connection:
            await connection.run_sync(metadata.create_all)
        await store.create("job", "accounts/ann", {}, 1)
        claim = await store.claim("benchmark", 86_400)
        assert claim is not None
        worker = Worker.start(told_in_every_other_epoch)
        worker.give(task)
        while isinstance(message := await asyncio.to_thread(worker.connection.recv), Told):
            await store.append(claim, [draft_of(event) for event in message.events], {})
            rates += [event.samples_per_second for event in message.events if isinstance(event, EpochFinished)]
        worker.dismiss()
        await database.close()
    return rates


@dataclass(frozen=True)
class _Watchers:
    """Those of another process."""

    connection: Connection

    def attach(self, after: int) -> None:
        """Returns when each of them watches."""
        self.connection.send(after)
        self.connection.recv()

    def detach(self) -> int:
        """Returns when none of them watches any more; how many messages they had."""
        self.connection.send(None)
        return int(self.connection.recv())


@contextmanager
def _watchers(services: Services, job: str, count: int) -> Iterator[_Watchers]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=watch_when_told, args=(theirs, services, job, count))
    process.start()
    theirs.close()
    try:
        yield _Watchers(ours)
    finally:
        ours.close()
        process.join()
