"""Kills or ends the server of trainings that are shown in TensorBoard and MLflow: each epoch is there once."""

import signal
from pathlib import Path

import flare_client
import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.services import FlareServices, service_process, start_services, stop_services

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

EPOCHS = 200


def connected(services: FlareServices) -> flare_client.Flare:
    """A connection, to be closed."""
    return flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    )


@pytest.mark.parametrize("how", ["killed", "drained"])
def test_the_next_server_goes_on_in_the_same_run(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("FLARE_ML_TENSORBOARD_DIRECTORY", str(tmp_path / "runs"))
    monkeypatch.setenv("FLARE_ML_MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("FLARE_ML_MLFLOW_EXPERIMENT", how)
    services = start_services(tmp_path / "data")
    with connected(services) as flare:
        flare.datasets.import_("breast-cancer", dataset_id="clinic").wait()
        view = flare.views.create("clinic", "diagnosis", seed=1)
        flare.models.create("tumours", flare_client.mlp([16]), view=view)
        job = flare.train("tumours", view, epochs=EPOCHS, batch_size=8, seed=5, checkpoint_interval=0.1)
        for epoch in job.epochs():
            if epoch.epoch == 30:
                break
    if how == "killed":
        service_process(services, "ml_server").send_signal(signal.SIGKILL)
        services.process.wait(60)
    else:
        assert stop_services(services) == 0

    services = start_services(tmp_path / "data")
    with connected(services) as flare:
        job = flare.jobs.get_training(job.name)
        version = job.wait()
        losses = [epoch.validation_loss for epoch in job.epochs()]
        assert len(job.refresh().attempts) == 2
    assert stop_services(services) == 0

    (folder,) = (tmp_path / "runs" / "tumours").iterdir()
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    shown.Reload()
    assert [event.step for event in shown.Scalars("loss/train")] == list(range(1, EPOCHS + 1))
    assert [event.tensor_proto.string_val for event in shown.Tensors("ended")] == [[b"succeeded"]]
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name(how)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    steps = [each.step for each in client.get_metric_history(run.info.run_id, "loss/train")]
    assert steps == list(range(1, EPOCHS + 1))
    history = client.get_metric_history(run.info.run_id, "loss/validation")
    assert [each.value for each in history] == pytest.approx(losses)
    assert (run.info.status, run.data.tags["flare.job"]) == ("FINISHED", job.name)
    assert (run.data.tags["flare.version"], run.data.tags["flare.attempts"]) == (version.name, "2")
    assert run.data.tags["flare.view_digest"] == view.digest
    assert run.data.params["epochs"] == str(EPOCHS)
    measured = {metric.name: metric.value for metric in version.test_metrics}
    assert run.data.metrics["test/diagnosis/accuracy"] == pytest.approx(measured["accuracy"])
