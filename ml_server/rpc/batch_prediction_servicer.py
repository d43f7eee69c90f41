"""BatchPredictionService on the batch predictions of this server."""

from collections.abc import AsyncIterator

from flare.ml.v1 import batch_prediction_pb2, batch_prediction_service_pb2, batch_prediction_service_pb2_grpc

from ml_server.batch_prediction.jobs import BatchPredictions
from ml_server.rpc.batch_prediction_converters import (
    batch_prediction_message,
    event_message,
    new_batch_prediction,
    unsaved_message,
    watch_message,
)
from servicekit.idempotency import request_key
from servicekit.identity import current_caller
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.store import JobStore
from servicekit.pages import page_size
from servicekit.rpc.authorization import require_scope
from servicekit.rpc.interceptor import Context
from servicekit.rpc.pages import next_cursor, time_cursor, time_token


class BatchPredictionServicer(batch_prediction_service_pb2_grpc.BatchPredictionServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, store: JobStore, predictions: BatchPredictions, follower: JobFollower) -> None:
        self._store = store
        self._predictions = predictions
        self._follower = follower

    async def CreateBatchPrediction(
        self, request: batch_prediction_service_pb2.CreateBatchPredictionRequest, context: Context
    ) -> batch_prediction_pb2.BatchPrediction:
        require_scope("predictions.read", "predict for a view")
        owner, new = current_caller().subject, new_batch_prediction(request.batch_prediction)
        if request.validate_only:
            return unsaved_message(await self._predictions.check(owner, new))
        message = request.SerializeToString(deterministic=True)
        key = request_key(owner, "CreateBatchPrediction", request.request_id, message)
        return batch_prediction_message(await self._predictions.create(owner, new, key))

    async def GetBatchPrediction(
        self, request: batch_prediction_service_pb2.GetBatchPredictionRequest, context: Context
    ) -> batch_prediction_pb2.BatchPrediction:
        return batch_prediction_message(await self._store.get(current_caller().subject, _id(request.name)))

    async def ListBatchPredictions(
        self, request: batch_prediction_service_pb2.ListBatchPredictionsRequest, context: Context
    ) -> batch_prediction_service_pb2.ListBatchPredictionsResponse:
        limit = page_size(request.page_size)
        before = time_cursor("batchPredictions", request.page_token)
        jobs = await self._store.page(current_caller().subject, before, limit + 1)
        more = time_token("batchPredictions", next_cursor(jobs, limit, lambda job: (job.create_time, job.id)))
        return batch_prediction_service_pb2.ListBatchPredictionsResponse(
            batch_predictions=map(batch_prediction_message, jobs[:limit]), next_page_token=more
        )

    async def CancelBatchPrediction(
        self, request: batch_prediction_service_pb2.CancelBatchPredictionRequest, context: Context
    ) -> batch_prediction_pb2.BatchPrediction:
        owner = current_caller().subject
        return batch_prediction_message(await self._store.request_cancel(owner, _id(request.name)))

    async def WatchBatchPrediction(
        self, request: batch_prediction_service_pb2.WatchBatchPredictionRequest, context: Context
    ) -> AsyncIterator[batch_prediction_service_pb2.WatchBatchPredictionResponse]:
        owner = current_caller().subject
        async for message in self._follower.follow(owner, _id(request.name), request.after_sequence):
            yield watch_message(message)

    async def ListBatchPredictionEvents(
        self, request: batch_prediction_service_pb2.ListBatchPredictionEventsRequest, context: Context
    ) -> batch_prediction_service_pb2.ListBatchPredictionEventsResponse:
        job = await self._store.get(current_caller().subject, _id(request.name))
        events = await self._store.events(job.id, request.after_sequence, page_size(request.page_size, default=100))
        last = events[-1].sequence if events else request.after_sequence
        return batch_prediction_service_pb2.ListBatchPredictionEventsResponse(
            events=map(event_message, events), is_complete=job.state.is_final and last >= job.last_sequence
        )


def _id(name: str) -> str:
    return name.removeprefix("batchPredictions/")
