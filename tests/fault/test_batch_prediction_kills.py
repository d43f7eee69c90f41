"""The ML server is killed in each phase of a batch prediction: in the end there is one data set, and it is whole."""

import signal
from collections.abc import Iterator
from pathlib import Path

import flare_client
import pandas as pd
import psutil
import pytest
from flare.ml.v1 import batch_prediction_pb2 as pb

from tests.fault.trainings import connect
from tests.services import FlareServices, start_services, stop_services

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

ROWS = 60_000
KILLED_IN = (
    pb.BATCH_PREDICTION_PHASE_PREDICTING,
    pb.BATCH_PREDICTION_PHASE_UPLOADING,
    pb.BATCH_PREDICTION_PHASE_IMPORTING,
)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FlareServices]:
    services = start_services(tmp_path / "data")
    yield services
    if services.process.poll() is None:
        stop_services(services)


def killed_and_started_again(services: FlareServices) -> FlareServices:
    (server,) = [
        child for child in psutil.Process(services.process.pid).children() if "ml_server" in " ".join(child.cmdline())
    ]
    server.send_signal(signal.SIGKILL)
    services.process.wait(60)
    return start_services(
        services.data_dir,
        *("--auth-address", services.auth_address),
        *("--scraper-address", services.scraper_address),
        *("--ml-address", services.ml_address),
    )


def test_a_batch_prediction_outlives_servers_that_are_killed(services: FlareServices) -> None:
    with connect(services) as flare:
        table = pd.DataFrame({"x": range(ROWS), "y": [0.0, 1.0] * (ROWS // 2)})
        flare.datasets.upload(table, dataset_id="many")
        flare.datasets.upload(table[:200], dataset_id="few")
        view = flare.views.create("many", "y", view_id="main").name
        flare.models.create("m", flare_client.mlp([512, 512]), view=flare.views.create("few", "y", view_id="main"))
        flare.train("m", "few/main", epochs=1, engine="torch").wait()
        job = flare.batch_predict("m", view, dataset_id="predicted")
        latest, left = services, list(KILLED_IN)
        try:
            for event in job.events():
                if left and event.progress.phase >= left[0]:
                    left.pop(0)
                    latest = killed_and_started_again(latest)
            assert job.wait() == "datasets/predicted"
            assert not left
            assert len(job.job.attempts) >= 3
            assert sorted(each.name for each in flare.datasets.list()) == [
                "datasets/few",
                "datasets/many",
                "datasets/predicted",
            ]
            assert flare.datasets.get("predicted").row_count == ROWS
            assert not list((latest.data_dir).rglob("ml-batch-predictions/*"))
        finally:
            if latest is not services:
                stop_services(latest)
