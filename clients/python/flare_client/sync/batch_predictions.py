# Made from flare_client/aio/batch_predictions.py by tools/make_sync_client.py: edit that, then run this.
"""`flare.batch_predictions`: predictions for all rows of a view, as a data set."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from uuid import uuid4

from flare.ml.v1 import batch_prediction_pb2 as pb
from flare.ml.v1 import batch_prediction_service_pb2, batch_prediction_service_pb2_grpc
from flare.scraper.v1 import dataset_view_pb2

from flare_client.choices import choose
from flare_client.jobs_state import is_final, raise_unless_succeeded, state_name
from flare_client.names import Reference, batch_prediction_name, version_name, view_name
from flare_client.sync.runtime import Stream, closing
from flare_client.sync.service import OnInterruption, Service
from flare_client.sync.watch import Watch

CREATE_SECONDS = 120.0  # the version is checked against the view before the answer
PAGE_SIZE = 200


class BatchPredictionHandle:
    """A batch prediction on the server. It runs on whether or not anybody follows it."""

    def __init__(self, service: Service, job: pb.BatchPrediction) -> None:
        self.job = job
        """The batch prediction as it was last seen."""
        self._service = service
        self._stub = batch_prediction_service_pb2_grpc.BatchPredictionServiceStub(service.channel)

    def __repr__(self) -> str:
        return f"<{self.name} {self.state}>"

    @property
    def name(self) -> str:
        """`batchPredictions/{id}`."""
        return self.job.name

    @property
    def state(self) -> str:
        """The state last seen, in a word: `queued`, `running`, `succeeded`, ..."""
        return state_name(self.job.state)

    def refresh(self) -> pb.BatchPrediction:
        """Asks how the batch prediction is now."""
        request = batch_prediction_service_pb2.GetBatchPredictionRequest(name=self.name)
        self.job = self._service.call(self._stub.GetBatchPrediction, request, safe=True)
        return self.job

    def messages(
        self, after: int = 0, *, on_interruption: OnInterruption | None = None
    ) -> Stream[pb.BatchPrediction | pb.BatchPredictionEvent]:
        """Snapshots of the batch prediction as they come, and its events as `events` gives them."""
        watch = Watch(
            self._service,
            self._stub.WatchBatchPrediction,
            lambda last: batch_prediction_service_pb2.WatchBatchPredictionRequest(name=self.name, after_sequence=last),
            _content,
            lambda event: event.sequence,
        )
        with closing(watch.follow(after, on_interruption)) as contents:
            for content in contents:
                if isinstance(content, pb.BatchPrediction):
                    self.job = content
                yield content

    def events(
        self, after: int = 0, *, on_interruption: OnInterruption | None = None
    ) -> Stream[pb.BatchPredictionEvent]:
        """Each event above the sequence `after`, once and in order, as it comes, up to the last.

        A broken connection, a restarted server and an ended token only cost time: the watch goes on after the last
        event that came. `on_interruption` is called with the cause each time.

        Raises:
            FlareError: The service refused, such as NOT_FOUND, or could not be reached for 10 minutes.
        """
        with closing(self.messages(after, on_interruption=on_interruption)) as contents:
            for content in contents:
                if isinstance(content, pb.BatchPredictionEvent):
                    yield content

    def wait(self) -> str:
        """Waits for the end and returns the name of the data set: `datasets/{dataset}`.

        Raises:
            FlareError: The batch prediction failed, with its reason, or was cancelled.
        """
        if not is_final(self.job.state):
            with closing(self.messages()) as contents:
                for _ in contents:
                    pass
        raise_unless_succeeded(self.name, self.job.state, self.job.error)
        return self.job.dataset

    def cancel(self) -> pb.BatchPrediction:
        """Asks it to stop; it leaves nothing, and `wait` says when.

        Raises:
            FlareError: JOB_ENDED, if it has ended.
        """
        request = batch_prediction_service_pb2.CancelBatchPredictionRequest(name=self.name)
        self.job = self._service.call(self._stub.CancelBatchPrediction, request, safe=True)
        return self.job


class BatchPredictions:
    """The batch predictions of the caller."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = batch_prediction_service_pb2_grpc.BatchPredictionServiceStub(service.channel)

    def create(
        self,
        version: Reference,
        view: Reference,
        *,
        dataset_id: str,
        parts: Sequence[str] = (),
        columns: Sequence[str] | None = None,
    ) -> BatchPredictionHandle:
        """Starts to predict for all rows of a view and returns at once; `.wait()` gives the name of the data set.

        `version` is `iris`, `iris@prod` or `iris/versions/3`. `parts` are of `train`, `validation` and `test`, all
        unless given; `columns` those of the view that stand before the predictions, all but images unless given, none
        if empty.

        Raises:
            FlareError: There is no such version or view, they do not fit, or there is a data set of this id.
        """
        message = pb.BatchPrediction(
            version=version_name(version),
            view=view_name(view),
            parts=[choose("part", part, dataset_view_pb2.SplitPart) for part in parts],
            columns=columns or (),
            only_predictions=columns is not None and not columns,
            dataset_id=dataset_id,
        )
        request = batch_prediction_service_pb2.CreateBatchPredictionRequest(
            batch_prediction=message, request_id=str(uuid4())
        )
        created = self._service.call(self._stub.CreateBatchPrediction, request, safe=True, seconds=CREATE_SECONDS)
        return BatchPredictionHandle(self._service, created)

    def get(self, batch_prediction: Reference) -> BatchPredictionHandle:
        """A batch prediction, to be followed."""
        name = batch_prediction_name(batch_prediction)
        request = batch_prediction_service_pb2.GetBatchPredictionRequest(name=name)
        found = self._service.call(self._stub.GetBatchPrediction, request, safe=True)
        return BatchPredictionHandle(self._service, found)

    def list(self, limit: int = 100) -> builtins.list[BatchPredictionHandle]:
        """The newest batch predictions, newest first."""
        found: list[BatchPredictionHandle] = []
        page_token = ""
        while len(found) < limit:
            request = batch_prediction_service_pb2.ListBatchPredictionsRequest(
                page_size=min(PAGE_SIZE, limit - len(found)), page_token=page_token
            )
            page = self._service.call(self._stub.ListBatchPredictions, request, safe=True)
            found += [BatchPredictionHandle(self._service, each) for each in page.batch_predictions]
            page_token = page.next_page_token
            if not page_token:
                break
        return found[:limit]


def _content(
    message: batch_prediction_service_pb2.WatchBatchPredictionResponse,
) -> tuple[pb.BatchPrediction | None, pb.BatchPredictionEvent | None]:
    kind = message.WhichOneof("message")
    return message.snapshot if kind == "snapshot" else None, message.event if kind == "event" else None
