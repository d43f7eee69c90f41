"""Kills what a training needs while somebody watches it: nothing is lost, nothing is told twice."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flare_client.jobs_state import state_name
from flare_client.sync.flare import Flare

from tests.fault.trainings import Watcher, assert_whole, breast_cancer_view, busy_worker, connect, train
from tests.services import FlareServices, service_process, start_again, start_services, stop_services

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FlareServices]:
    services = start_services(tmp_path / "data")
    yield services
    if services.process.poll() is None:
        stop_services(services)


def _digest(flare: Flare, model: str) -> str:
    return flare.models.version(model).digest


def test_the_ml_server_is_killed_and_started_again(services: FlareServices) -> None:
    with connect(services) as flare:
        view = breast_cancer_view(flare)
        train(flare, view, "unbroken").wait()
        job = train(flare, view, "broken")
        watcher = Watcher(job)
        saved = watcher.wait_for_checkpoint()
        server = service_process(services, "ml_server")
        workers = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        assert services.process.wait(60) != 0, "`flare up` must not call this a good end"
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "workers outlive their server"
        restarted = start_again(services)
        try:
            events = watcher.finish()
            assert_whole(events)
            started = [event.training_started for event in events if event.HasField("training_started")]
            assert len(started) == 2
            assert started[1].resumed_epochs >= saved
            assert _digest(flare, "broken") == _digest(flare, "unbroken")
            attempts = job.refresh().attempts
            assert len(attempts) == 2
            assert "died" in attempts[0].error.message
        finally:
            stop_services(restarted)


def test_a_worker_is_killed(services: FlareServices) -> None:
    with connect(services) as flare:
        view = breast_cancer_view(flare)
        train(flare, view, "unbroken").wait()
        job = train(flare, view, "broken")
        watcher = Watcher(job)
        watcher.wait_for_checkpoint()
        server = service_process(services, "ml_server")
        busy_worker(server).kill()
        events = watcher.finish()
        assert_whole(events)
        attempts = job.refresh().attempts
        assert [attempt.number for attempt in attempts] == [1, 2]
        assert "killed by signal 9" in attempts[0].error.message
        assert _digest(flare, "broken") == _digest(flare, "unbroken")


def test_a_drained_server_saves_the_job_for_its_successor(services: FlareServices) -> None:
    with connect(services) as flare:
        view = breast_cancer_view(flare)
        job = train(flare, view, "model")
        watcher = Watcher(job)
        watcher.wait_for_checkpoint()
        assert stop_services(services) == 0
        restarted = start_again(services)
        try:
            assert_whole(watcher.finish())
            assert not job.refresh().attempts[0].HasField("error"), "a drain is no fault"
        finally:
            stop_services(restarted)


@pytest.mark.parametrize("killed", ["worker", "server"])
def test_a_cancelled_job_keeps_its_best_epoch_whatever_is_killed_before_it_has(
    services: FlareServices, killed: str
) -> None:
    with connect(services) as flare:
        job = train(flare, breast_cancer_view(flare), "kept", epochs=100_000)
        watcher = Watcher(job)
        watcher.wait_for_checkpoint()
        server = service_process(services, "ml_server")
        worker = busy_worker(server)
        worker.suspend()  # so that it can't be quicker than the kill
        job.cancel(keep_best=True)
        told = max(event.epoch_finished.epoch for event in watcher.events if event.HasField("epoch_finished"))
        running = services
        if killed == "server":
            server.send_signal(signal.SIGKILL)
            services.process.wait(60)
        worker.kill()
        psutil.wait_procs([worker], timeout=30)
        if killed == "server":
            running = start_again(services)
        try:
            states = [state_name(e.state_changed.state) for e in watcher.finish() if e.HasField("state_changed")]
            assert states[-4:] == ["cancelling", "cancelling", "cancelling", "cancelled"]  # asked, lost, claimed, ended
            epochs = [event.epoch_finished for event in watcher.events if event.HasField("epoch_finished")]
            version = flare.models.version(job.refresh().version)
            best = min(epochs, key=lambda epoch: epoch.validation_loss)
            assert (version.best_epoch, epochs[-1].epoch >= told) == (best.epoch, True)
        finally:
            stop_services(running)
