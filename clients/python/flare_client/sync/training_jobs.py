# Made from flare_client/aio/training_jobs.py by tools/make_sync_client.py: edit that, then run this.
"""A training job that can be followed, waited for, and stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flare.ml.v1 import (
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    training_service_pb2,
    training_service_pb2_grpc,
)
from flare.ml.v1 import training_job_pb2 as pb

from flare_client.history import Epoch, epoch_of, history_frame, plot_history
from flare_client.jobs_state import is_final, raise_unless_succeeded, state_name
from flare_client.sync.runtime import Stream, closing
from flare_client.sync.service import OnInterruption, Service
from flare_client.sync.watch import Watch

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class TrainingJobHandle:
    """A training job on the server. It runs on whether or not anybody follows it."""

    def __init__(self, service: Service, job: pb.TrainingJob) -> None:
        self.job = job
        """The job as it was last seen."""
        self._service = service
        self._stub = training_service_pb2_grpc.TrainingServiceStub(service.channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(service.channel)

    def __repr__(self) -> str:
        return f"<{self.name} {self.state}>"

    @property
    def name(self) -> str:
        """`trainingJobs/{id}`."""
        return self.job.name

    @property
    def state(self) -> str:
        """The state last seen, in a word: `queued`, `running`, `succeeded`, ..."""
        return state_name(self.job.state)

    def refresh(self) -> pb.TrainingJob:
        """Asks how the job is now."""
        request = training_service_pb2.GetTrainingJobRequest(name=self.name)
        self.job = self._service.call(self._stub.GetTrainingJob, request, safe=True)
        return self.job

    def messages(
        self, after: int = 0, *, on_interruption: OnInterruption | None = None
    ) -> Stream[pb.TrainingJob | pb.TrainingEvent]:
        """Snapshots of the job as they come, and its events as `events` gives them."""
        watch = Watch(
            self._service,
            self._stub.WatchTrainingJob,
            lambda last: training_service_pb2.WatchTrainingJobRequest(name=self.name, after_sequence=last),
            _content,
            lambda event: event.coalesced_from or event.sequence,
        )
        with closing(watch.follow(after, on_interruption)) as contents:
            for content in contents:
                if isinstance(content, pb.TrainingJob):
                    self.job = content
                yield content

    def events(self, after: int = 0, *, on_interruption: OnInterruption | None = None) -> Stream[pb.TrainingEvent]:
        """Each event above the sequence `after`, once and in order, as it comes, up to the job's last.

        A broken connection, a restarted server and an ended token only cost time: the watch goes on after the last
        event that came. `on_interruption` is called with the cause each time. Of `progress` events that piled up
        because they were read slowly comes just the newest, with the first one's sequence in `coalesced_from`.

        Raises:
            FlareError: The service refused, such as NOT_FOUND, or could not be reached for 10 minutes.
        """
        with closing(self.messages(after, on_interruption=on_interruption)) as contents:
            for content in contents:
                if isinstance(content, pb.TrainingEvent):
                    yield content

    def epochs(self, after: int = 0) -> Stream[Epoch]:
        """The epochs as they end, those above the sequence `after`."""
        with closing(self.events(after)) as events:
            for event in events:
                if event.WhichOneof("event") == "epoch_finished":
                    yield epoch_of(event.epoch_finished)

    def wait(self) -> model_pb2.ModelVersion:
        """Waits for the job's end and returns the version that it made.

        Raises:
            FlareError: The job failed, with its reason, or was cancelled.
        """
        if not is_final(self.job.state):
            with closing(self.messages()) as contents:
                for _ in contents:
                    pass
        raise_unless_succeeded(self.name, self.job.state, self.job.error)
        request = model_service_pb2.GetModelVersionRequest(name=self.job.version)
        return self._service.call(self._models.GetModelVersion, request, safe=True)

    def cancel(self, *, keep_best: bool = False) -> pb.TrainingJob:
        """Asks the job to stop; `wait` says when it did.

        With `keep_best` the best epoch so far, if one has ended, becomes a version: `job.version` names it then.

        Raises:
            FlareError: JOB_ENDED, if it has ended.
        """
        request = training_service_pb2.CancelTrainingJobRequest(name=self.name, keep_best=keep_best)
        self.job = self._service.call(self._stub.CancelTrainingJob, request, safe=True)
        return self.job

    def pause(self) -> pb.TrainingJob:
        """Asks the job to save where it is and leave its place to others. Raises FlareError (JOB_ENDED)."""
        request = training_service_pb2.PauseTrainingJobRequest(name=self.name)
        self.job = self._service.call(self._stub.PauseTrainingJob, request, safe=True)
        return self.job

    def resume(self) -> pb.TrainingJob:
        """Puts the paused job back into the queue. Raises FlareError (JOB_NOT_PAUSED, JOB_ENDED)."""
        request = training_service_pb2.ResumeTrainingJobRequest(name=self.name)
        self.job = self._service.call(self._stub.ResumeTrainingJob, request, safe=False)
        return self.job

    def history(self) -> pd.DataFrame:
        """A row for each epoch finished so far: losses, metrics, learning rate, seconds, samples a second."""
        epochs: list[Epoch] = []
        after = 0
        while True:
            request = training_service_pb2.ListTrainingJobEventsRequest(
                name=self.name, after_sequence=after, page_size=1000
            )
            page = self._service.call(self._stub.ListTrainingJobEvents, request, safe=True)
            epochs += [epoch_of(e.epoch_finished) for e in page.events if e.WhichOneof("event") == "epoch_finished"]
            if page.is_complete or not page.events:
                return history_frame(epochs)
            after = page.events[-1].sequence

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draws the learning curves so far, also into the file `path` if given (PNG, SVG or PDF by its ending)."""
        return plot_history({self.job.model: self.history()}, path)


def _content(
    message: training_service_pb2.WatchTrainingJobResponse,
) -> tuple[pb.TrainingJob | None, pb.TrainingEvent | None]:
    kind = message.WhichOneof("message")
    return message.snapshot if kind == "snapshot" else None, message.event if kind == "event" else None
