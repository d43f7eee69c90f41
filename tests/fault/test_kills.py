"""Kills what a training needs while somebody watches it: nothing is lost, nothing is told twice."""

import queue
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import flare_client
import psutil
import pytest
from flare.common.v1 import job_pb2
from flare.ml.v1 import training_job_pb2
from flare_client.sync.flare import Flare
from flare_client.sync.training_jobs import TrainingJobHandle

from tests.services import FlareServices, start_services, stop_services

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

EPOCHS = 400
WAIT_SECONDS = 120.0


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FlareServices]:
    services = start_services(tmp_path / "data")
    yield services
    if services.process.poll() is None:
        stop_services(services)


def _again(services: FlareServices) -> FlareServices:
    """The same folder and the same addresses, as an operator would start it again."""
    return start_services(
        services.data_dir,
        *("--auth-address", services.auth_address),
        *("--scraper-address", services.scraper_address),
        *("--ml-address", services.ml_address),
    )


def _connect(services: FlareServices) -> Flare:
    return flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    )


def _train(flare: Flare, view: str, model: str) -> TrainingJobHandle:
    flare.models.create(model, flare_client.mlp([32, 16], dropout=0.1), view=view)
    return flare.train(model, view, epochs=EPOCHS, batch_size=32, seed=5, checkpoint_interval=0.1)


def _view(flare: Flare) -> str:
    name = f"b-{uuid4().hex[:8]}"
    flare.datasets.import_("breast-cancer", source="samples", dataset_id=name).wait()
    return flare.views.create(name, target="diagnosis", stratify="diagnosis", seed=1, view_id="main").name


class Watcher:
    """Watches a job in a thread of its own, as a user's program does while services come and go."""

    def __init__(self, job: TrainingJobHandle) -> None:
        self.events: list[training_job_pb2.TrainingEvent] = []
        self._checkpoints: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=self._watch, args=(job,), daemon=True)
        self._thread.start()

    def _watch(self, job: TrainingJobHandle) -> None:
        for event in job.events():
            self.events.append(event)
            if event.HasField("checkpoint_saved"):
                self._checkpoints.put(event.checkpoint_saved.epoch)

    def wait_for_checkpoint(self) -> int:
        """The epoch after which a checkpoint was saved."""
        return self._checkpoints.get(timeout=WAIT_SECONDS)

    def finish(self) -> list[training_job_pb2.TrainingEvent]:
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "the watch did not end"
        return self.events


def _child(services: FlareServices, module: str) -> psutil.Process:
    """The process of one service."""
    (child,) = [
        child for child in psutil.Process(services.process.pid).children() if module in " ".join(child.cmdline())
    ]
    return child


def _assert_whole(events: list[training_job_pb2.TrainingEvent]) -> None:
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [e.epoch_finished.epoch for e in events if e.HasField("epoch_finished")] == list(range(1, EPOCHS + 1))
    assert events[-1].state_changed.state == job_pb2.JOB_STATE_SUCCEEDED


def _digest(flare: Flare, model: str) -> str:
    return flare.models.version(model).digest


def test_the_ml_server_is_killed_and_started_again(services: FlareServices) -> None:
    with _connect(services) as flare:
        view = _view(flare)
        _train(flare, view, "unbroken").wait()
        job = _train(flare, view, "broken")
        watcher = Watcher(job)
        saved = watcher.wait_for_checkpoint()
        server = _child(services, "ml_server")
        workers = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        assert services.process.wait(60) != 0, "`flare up` must not call this a good end"
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "workers outlive their server"
        restarted = _again(services)
        try:
            events = watcher.finish()
            _assert_whole(events)
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
    with _connect(services) as flare:
        view = _view(flare)
        _train(flare, view, "unbroken").wait()
        job = _train(flare, view, "broken")
        watcher = Watcher(job)
        watcher.wait_for_checkpoint()
        server = _child(services, "ml_server")
        # The server's children are those that workers are forked from; beside the one at work others wait.
        workers = [each for each in server.children(recursive=True) if each.ppid() != server.pid]
        max(workers, key=lambda each: each.cpu_times().user).kill()
        events = watcher.finish()
        _assert_whole(events)
        attempts = job.refresh().attempts
        assert [attempt.number for attempt in attempts] == [1, 2]
        assert "killed by signal 9" in attempts[0].error.message
        assert _digest(flare, "broken") == _digest(flare, "unbroken")


def test_a_drained_server_saves_the_job_for_its_successor(services: FlareServices) -> None:
    with _connect(services) as flare:
        view = _view(flare)
        job = _train(flare, view, "model")
        watcher = Watcher(job)
        watcher.wait_for_checkpoint()
        assert stop_services(services) == 0
        restarted = _again(services)
        try:
            _assert_whole(watcher.finish())
            assert not job.refresh().attempts[0].HasField("error"), "a drain is no fault"
        finally:
            stop_services(restarted)
