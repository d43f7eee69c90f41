"""Jobs share the rows of views on the disk of the ML service, which take no more than a budget of bytes."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock
from uuid import uuid4

import flare_client
import numpy as np
import pandas as pd
import pytest
from flare_client import TrainingJobHandle
from flare_client.sync.flare import Flare

from tests.services import FlareServices, start_services, stop_services

ROWS = 2_000
# Of a view with 9 inputs: 2,000 x 10 x 8 bytes as fetched, 2,000 x (9 x 4 + 8) as prepared. One view fits, two do not.
BUDGET_BYTES = 400_000
# Half of it is less than such a view takes as prepared.
MEMORY_BYTES = 100_000


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareServices]:
    settings = {"FLARE_ML_VIEW_CACHE_BYTES": BUDGET_BYTES, "FLARE_ML_WORKER_MEMORY_BYTES": MEMORY_BYTES}
    with mock.patch.dict(os.environ, {name: str(value) for name, value in settings.items()}):
        services = start_services(tmp_path_factory.mktemp("cache") / "data")
    yield services
    stop_services(services)


@pytest.fixture(scope="module")
def flare(services: FlareServices) -> Iterator[Flare]:
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        yield flare


def view_of(flare: Flare, directory: Path, rows: int) -> str:
    random = np.random.default_rng(rows)
    frame = pd.DataFrame(random.normal(size=(rows, 9)), columns=[f"x{at}" for at in range(9)])
    frame["y"] = np.where(frame["x0"] > 0, "up", "down")
    frame.to_parquet(directory / "table.parquet")
    name = f"c-{uuid4().hex[:8]}"
    flare.datasets.upload(directory / "table.parquet", dataset_id=name)
    return flare.views.create(name, target="y", view_id="main").name


def started(flare: Flare, view: str) -> TrainingJobHandle:
    """A training of a fresh model."""
    model = f"m-{uuid4().hex[:8]}"
    flare.models.create(model, flare_client.mlp([8]), view=view)
    return flare.train(model, view, epochs=3, learning_rate=0.01)


def train(flare: Flare, view: str) -> bool:
    """Trains a fresh model; True if its rows were on the disk already."""
    job = started(flare, view)
    fetched = [event.data_fetched for event in job.events() if event.HasField("data_fetched")]
    job.wait()
    return fetched[-1].cached


def kept(services: FlareServices) -> dict[str, int]:
    """Bytes of each folder of the cache."""
    root = services.data_dir / "ml" / "ml-views"
    folders = [each for each in root.iterdir() if not each.name.startswith(".")]
    return {each.name: sum(file.stat().st_size for file in each.iterdir()) for each in folders}


def test_jobs_share_rows_until_others_need_the_room(services: FlareServices, flare: Flare, tmp_path: Path) -> None:
    first, second = (view_of(flare, tmp_path, rows) for rows in (ROWS, ROWS + 1))
    assert not train(flare, first)
    folders = kept(services)
    assert len(folders) == 2  # as fetched, and as prepared
    assert train(flare, first)
    assert kept(services) == folders
    assert not train(flare, second)
    assert sum(kept(services).values()) <= BUDGET_BYTES
    assert not set(folders) <= set(kept(services))
    assert train(flare, second)


def test_a_view_that_is_more_than_the_budget_fails_its_job_with_the_remedy(flare: Flare, tmp_path: Path) -> None:
    with pytest.raises(flare_client.FlareError, match=r"fewer rows or columns .* FLARE_ML_VIEW_CACHE_BYTES"):
        train(flare, view_of(flare, tmp_path, 6 * ROWS))


def test_rows_that_are_more_than_memory_are_streamed_and_learned(flare: Flare, tmp_path: Path) -> None:
    job = started(flare, view_of(flare, tmp_path, ROWS + 2))
    events = list(job.events())
    warnings = [event.warning.message for event in events if event.HasField("warning")]
    assert any("streamed from the disk and shuffled by blocks" in message for message in warnings)
    [tested] = [event.test_finished for event in events if event.HasField("test_finished")]
    assert {metric.name: metric.value for metric in tested.metrics}["accuracy"] > 0.85
