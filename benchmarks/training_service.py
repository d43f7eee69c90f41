"""Flare's three services with tables to train on, as one user has them, and loops beside them."""

import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import flare_client
import pyarrow as pa
import pyarrow.parquet as pq
from flare_client import TrainingJobHandle, block, cnn, mlp
from flare_client.sync.flare import Flare

from benchmarks.peers.made_networks import CHANNELS, HIDDEN_UNITS
from benchmarks.peers.made_rows import IMAGE, made_rows
from benchmarks.sizes import Sizes
from ml_server.training.executors.warm_workers import ALLOCATOR
from tests.services import FlareServices, start_services, stop_services


@dataclass(frozen=True)
class TrainingService:
    """The services, and a view that an `mlp` or a `cnn` trains on."""

    services: FlareServices
    flare: Flare
    kind: str
    view: str
    train_rows: int

    def start(self, batch: int, epochs: int) -> TrainingJobHandle:
        """A job of a fresh model."""
        return self.flare.train(self.fresh_model(), self.view, epochs=epochs, batch_size=batch)

    def fresh_model(self) -> str:
        """A model that nothing has trained."""
        model = f"m-{uuid.uuid4().hex[:12]}"
        blocks = [block(channels, pooling="max") for channels in CHANNELS]
        network = mlp(HIDDEN_UNITS) if self.kind == "mlp" else cnn(IMAGE, blocks, global_average_pooling=True)
        self.flare.models.create(model, network, view=self.view)
        return model


@contextmanager
def training_service(kind: str, rows: int, sizes: Sizes, **settings: object) -> Iterator[TrainingService]:
    """The services with a table of `rows`. `settings` are FLARE_ML_*, in lower case."""
    given = {"worker_threads": sizes.training_threads, **settings}
    variables = {f"FLARE_ML_{name.upper()}": str(value) for name, value in given.items()}
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, variables):
        table = Path(name) / "table.parquet"
        features, classes = made_rows(kind, rows)
        columns: dict[str, Any] = {f"x{at}": features[:, at] for at in range(features.shape[1])}
        pq.write_table(pa.table({**columns, "y": pa.array(classes)}), table, use_dictionary=False)
        services = start_services(Path(name) / "services")
        try:
            with _connected(services) as flare:
                dataset = flare.datasets.upload(table)
                cast = {"y": "categorical"}
                view = flare.views.create(dataset.name, target="y", cast=cast, split=(0.8, 0.1, 0.1), seed=1)
                yield TrainingService(services, flare, kind, view.name, view.row_counts.train)
        finally:
            stop_services(services)


def _connected(services: FlareServices) -> Flare:
    return flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    )


def steps_rate(job: TrainingJobHandle) -> float:
    """Rows a second in the steps of a job's epochs, as its events tell: the median, without the first."""
    rates = [epoch.samples_per_second for epoch in job.epochs()]
    job.wait()
    return statistics.median(rates[1:] or rates)


def epochs_rate(job: TrainingJobHandle, train_rows: int) -> float:
    """Training rows a second of whole epochs, with their validation, checkpoints and events."""
    seconds = [epoch.seconds for epoch in job.epochs()]
    job.wait()
    return train_rows / statistics.median(seconds[1:] or seconds)


def peer_rate(loop: str, kind: str, rows: int, batch: int, sizes: Sizes, python: str = sys.executable) -> float:
    """Rows a second of a loop of benchmarks/peers, in a process of its own, with the allocator that workers have."""
    numbers = (rows, batch, sizes.training_epochs, sizes.training_threads)
    environment: Mapping[str, str] = {**os.environ, **ALLOCATOR}
    command = [python, "-m", f"benchmarks.peers.{loop}", kind, *map(str, numbers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])
