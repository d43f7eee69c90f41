# Made from flare_client/aio/import_jobs.py by tools/make_sync_client.py: edit that, then run this.
"""An import that can be followed, waited for, and stopped."""

from __future__ import annotations

from flare.scraper.v1 import dataset_pb2, scraper_service_pb2, scraper_service_pb2_grpc
from flare.scraper.v1 import import_job_pb2 as pb

from flare_client.jobs_state import is_final, raise_unless_succeeded, state_name
from flare_client.sync.runtime import Stream, closing
from flare_client.sync.service import OnInterruption, Service
from flare_client.sync.watch import Watch


class ImportJobHandle:
    """An import on the server. It runs on whether or not anybody follows it."""

    def __init__(self, service: Service, job: pb.ImportJob) -> None:
        self.job = job
        """The job as it was last seen."""
        self._service = service
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(service.channel)

    def __repr__(self) -> str:
        return f"<{self.name} {self.state}>"

    @property
    def name(self) -> str:
        """`importJobs/{id}`."""
        return self.job.name

    @property
    def state(self) -> str:
        """The state last seen, in a word: `queued`, `running`, `succeeded`, ..."""
        return state_name(self.job.state)

    def refresh(self) -> pb.ImportJob:
        """Asks how the job is now."""
        request = scraper_service_pb2.GetImportJobRequest(name=self.name)
        self.job = self._service.call(self._stub.GetImportJob, request, safe=True)
        return self.job

    def messages(
        self, after: int = 0, *, on_interruption: OnInterruption | None = None
    ) -> Stream[pb.ImportJob | pb.ImportEvent]:
        """Snapshots of the job as they come, and its events as `events` gives them."""
        watch = Watch(
            self._service,
            self._stub.WatchImportJob,
            lambda last: scraper_service_pb2.WatchImportJobRequest(name=self.name, after_sequence=last),
            _content,
            lambda event: event.sequence,
        )
        with closing(watch.follow(after, on_interruption)) as contents:
            for content in contents:
                if isinstance(content, pb.ImportJob):
                    self.job = content
                yield content

    def events(self, after: int = 0, *, on_interruption: OnInterruption | None = None) -> Stream[pb.ImportEvent]:
        """Each event above the sequence `after`, once and in order, as it comes, up to the job's last.

        A broken connection, a restarted server and an ended token only cost time: the watch goes on after the last
        event that came. `on_interruption` is called with the cause each time.

        Raises:
            FlareError: The service refused, such as NOT_FOUND, or could not be reached for 10 minutes.
        """
        with closing(self.messages(after, on_interruption=on_interruption)) as contents:
            for content in contents:
                if isinstance(content, pb.ImportEvent):
                    yield content

    def progress(self) -> Stream[pb.ImportProgress]:
        """Phase, bytes, rate and time left, as they change."""
        with closing(self.messages()) as contents:
            for content in contents:
                if content.HasField("progress"):
                    yield content.progress

    def wait(self) -> dataset_pb2.Dataset:
        """Waits for the job's end and returns the data set that it made.

        Raises:
            FlareError: The job failed, with its reason, or was cancelled.
        """
        if not is_final(self.job.state):
            with closing(self.messages()) as contents:
                for _ in contents:
                    pass
        raise_unless_succeeded(self.name, self.job.state, self.job.error)
        request = scraper_service_pb2.GetDatasetRequest(name=self.job.dataset)
        return self._service.call(self._stub.GetDataset, request, safe=True)

    def cancel(self) -> pb.ImportJob:
        """Asks the import to stop; `wait` says when it did. Raises FlareError (JOB_ENDED) if it has ended."""
        request = scraper_service_pb2.CancelImportJobRequest(name=self.name)
        self.job = self._service.call(self._stub.CancelImportJob, request, safe=True)
        return self.job


def _content(message: scraper_service_pb2.WatchImportJobResponse) -> tuple[pb.ImportJob | None, pb.ImportEvent | None]:
    kind = message.WhichOneof("message")
    return message.snapshot if kind == "snapshot" else None, message.event if kind == "event" else None
