"""Trainings for tests that kill what they need: started, watched, and found whole."""

import queue
import threading
from uuid import uuid4

import flare_client
import psutil
from flare.common.v1 import job_pb2
from flare.ml.v1 import training_job_pb2
from flare_client.sync.flare import Flare
from flare_client.sync.training_jobs import TrainingJobHandle

from tests.services import FlareServices

EPOCHS = 400
WAIT_SECONDS = 200.0


def connect(services: FlareServices) -> Flare:
    """A client of the services."""
    return flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    )


def train(
    flare: Flare, view: str, model: str, workers: int = 1, batch_size: int = 32, epochs: int = EPOCHS
) -> TrainingJobHandle:
    """A training with dropout, whose random numbers a break must not disturb."""
    flare.models.create(model, flare_client.mlp([32, 16], dropout=0.1), view=view)
    return flare.train(
        model, view, epochs=epochs, batch_size=batch_size, seed=5, checkpoint_interval=0.1, workers=workers
    )


def breast_cancer_view(flare: Flare) -> str:
    """A view of a small data set, imported now."""
    name = f"b-{uuid4().hex[:8]}"
    flare.datasets.import_("breast-cancer", source="samples", dataset_id=name).wait()
    return flare.views.create(name, target="diagnosis", stratify="diagnosis", seed=1, view_id="main").name


def busy_worker(server: psutil.Process) -> psutil.Process:
    """The process of an ML server that trains."""
    # The server's children are those that workers are forked from; beside the one at work others wait.
    workers = [each for each in server.children(recursive=True) if each.ppid() != server.pid]
    return max(workers, key=lambda each: each.cpu_times().user)


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


def assert_whole(events: list[training_job_pb2.TrainingEvent]) -> None:
    """Every event is there once, in order, and so is every epoch."""
    sequences = [event.sequence for event in events]
    assert sequences == list(range(1, len(events) + 1)), sequences
    epochs = [event.epoch_finished.epoch for event in events if event.HasField("epoch_finished")]
    assert epochs == list(range(1, EPOCHS + 1)), epochs
    assert events[-1].state_changed.state == job_pb2.JOB_STATE_SUCCEEDED
