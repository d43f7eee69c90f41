"""Trainings in TensorBoard, written by the running service; see tests/fault/test_tracker_kills.py for MLflow too."""

from pathlib import Path

import flare_client
import pytest
from flare_client import Flare
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.services import FlareServices, start_services, stop_services

EPOCHS = 5


def connected(services: FlareServices) -> Flare:
    """A connection, to be closed."""
    return flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    )


def test_a_training_is_a_run_in_the_folder_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLARE_ML_TENSORBOARD_DIRECTORY", str(tmp_path / "runs"))
    services = start_services(tmp_path / "data")
    with connected(services) as flare:
        flare.datasets.import_("breast-cancer", dataset_id="clinic").wait()
        view = flare.views.create("clinic", "diagnosis", stratify="diagnosis", seed=1)
        flare.models.create("tumours", flare_client.mlp([16]), view=view)
        job = flare.train("tumours", view, epochs=EPOCHS, seed=5, engine="torch")
        version = job.wait()
        epochs = list(job.epochs())
    assert stop_services(services) == 0  # which waits for what is not written yet

    losses = pytest.approx([epoch.validation_loss for epoch in epochs])
    (folder,) = (tmp_path / "runs" / "tumours").iterdir()
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    shown.Reload()
    assert [event.step for event in shown.Scalars("loss/validation")] == list(range(1, EPOCHS + 1))
    assert [event.value for event in shown.Scalars("loss/validation")] == losses
    (accuracy,) = shown.Scalars("test/diagnosis/accuracy")
    measured = {metric.name: metric.value for metric in version.test_metrics}
    assert accuracy.value == pytest.approx(measured["accuracy"])
