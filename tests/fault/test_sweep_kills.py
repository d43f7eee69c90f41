"""Kills the ML server in the midst of a sweep: the next one goes on with the same trials."""

import signal
from collections.abc import Iterator
from pathlib import Path

import flare_client
import psutil
import pytest
from flare_client import SweepHandle, between
from flare_client.sync.flare import Flare
from flare_client.trials import trial_state

from tests.fault.trainings import connect
from tests.services import FlareServices, service_process, start_again, start_services, stop_services

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

TRIALS = 4
EPOCHS = 200


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FlareServices]:
    services = start_services(tmp_path / "data")
    yield services
    if services.process.poll() is None:
        stop_services(services)


def started(flare: Flare, model: str) -> SweepHandle:
    flare.models.create(model, flare_client.mlp([32, 16], dropout=0.1), view="b/main")
    return flare.sweeps.create(
        model,
        "b/main",
        {"learning_rate": between(1e-4, 0.05, log=True), "batch_size": [32, 64]},
        max_trials=TRIALS,
        epochs=EPOCHS,
        seed=5,
        checkpoint_interval=0.1,
        engine="torch",
    )


def test_the_ml_server_is_killed_in_the_second_trial(services: FlareServices) -> None:
    with connect(services) as flare:
        flare.datasets.import_("breast-cancer", source="samples", dataset_id="b").wait()
        flare.views.create("b", target="diagnosis", stratify="diagnosis", seed=1, view_id="main")
        unbroken = started(flare, "unbroken")
        expected = unbroken.wait()

        sweep = started(flare, "broken")
        events = sweep.events()
        seen = [next(events)]
        while not (seen[-1].HasField("trial_started") and seen[-1].trial_started.number == 2):
            seen.append(next(events))
        for event in flare.jobs.get_training(seen[-1].trial_started.training_job).events():
            if event.HasField("checkpoint_saved"):
                break
        server = service_process(services, "ml_server")
        workers = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        assert services.process.wait(60) != 0
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "workers outlive their server"
        restarted = start_again(services)
        try:
            seen += events  # the same watch goes on
            assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
            assert [e.trial_started.number for e in seen if e.HasField("trial_started")] == [1, 2, 3, 4]
            assert sweep.wait().digest == expected.digest
            trials, others = sweep.trials(), unbroken.trials()
            assert [trial_state(trial) for trial in trials] == ["succeeded"] * TRIALS
            assert [(t.parameters, t.value, t.epoch) for t in trials] == [
                (t.parameters, t.value, t.epoch) for t in others
            ]
            jobs = [job for job in flare.jobs.trainings() if job.job.sweep == sweep.name]
            assert sorted(job.name for job in jobs) == sorted(trial.training_job for trial in trials)
            assert len(sweep.refresh().attempts) == 2
            assert [version.name for version in flare.models.versions("broken")] == ["models/broken/versions/1"]
        finally:
            stop_services(restarted)
