"""Kills what a training needs while somebody watches it: nothing is lost, nothing is told twice."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flare_client.sync.flare import Flare

from tests.fault.trainings import Watcher, assert_whole, breast_cancer_view, connect, train
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
        # The server's children are those that workers are forked from; beside the one at work others wait.
        workers = [each for each in server.children(recursive=True) if each.ppid() != server.pid]
        max(workers, key=lambda each: each.cpu_times().user).kill()
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
