"""Batch predictions and their events between the contract and their values."""

from flare.common.v1 import job_pb2
from flare.ml.v1 import batch_prediction_pb2 as pb
from flare.ml.v1 import batch_prediction_service_pb2
from flare.scraper.v1 import dataset_view_pb2

from ml_server.batch_prediction.jobs import KIND, NewBatchPrediction
from ml_server.batch_prediction.values import PROGRESS, BatchPredictionSpec, Phase, Progress
from ml_server.views.values import Part
from servicekit.jobs.follow import Heartbeat
from servicekit.jobs.values import STATE_CHANGED, Event, Job
from servicekit.rpc.jobs import STATE_OF, attempt_message, state_changed_message, timestamp_message
from servicekit.rpc.status import status_message

PART_OF = {
    dataset_view_pb2.SPLIT_PART_TRAIN: Part.TRAIN,
    dataset_view_pb2.SPLIT_PART_VALIDATION: Part.VALIDATION,
    dataset_view_pb2.SPLIT_PART_TEST: Part.TEST,
}
NUMBER_OF = {part: number for number, part in PART_OF.items()}
PHASE_OF = {
    Phase.FETCHING: pb.BATCH_PREDICTION_PHASE_FETCHING,
    Phase.PREDICTING: pb.BATCH_PREDICTION_PHASE_PREDICTING,
    Phase.UPLOADING: pb.BATCH_PREDICTION_PHASE_UPLOADING,
    Phase.IMPORTING: pb.BATCH_PREDICTION_PHASE_IMPORTING,
}


def new_batch_prediction(message: pb.BatchPrediction) -> NewBatchPrediction:
    """What CreateBatchPrediction asks for, with the contract's defaults filled in."""
    columns = tuple(message.columns) if message.columns or message.only_predictions else None
    parts = frozenset(PART_OF[part] for part in message.parts) or frozenset(Part)
    return NewBatchPrediction(message.version, message.view, parts, columns, message.dataset_id)


def batch_prediction_message(job: Job) -> pb.BatchPrediction:
    """A batch prediction."""
    spec = BatchPredictionSpec.model_validate(job.spec)
    message = unsaved_message(spec)
    message.name = f"{KIND}/{job.id}"
    message.state = STATE_OF[job.state]
    if job.progress:
        message.progress.CopyFrom(_progress_message(Progress.from_json(job.progress)))
    else:
        message.progress.total_rows = spec.total_rows
    message.dataset = str(job.result["dataset"]) if job.result else ""
    if job.error is not None:
        message.error.CopyFrom(status_message(job.error))
    message.attempts.extend(map(attempt_message, job.attempts))
    message.last_sequence = job.last_sequence
    for name in ("create_time", "start_time", "end_time"):
        if (time := timestamp_message(getattr(job, name))) is not None:
            getattr(message, name).CopyFrom(time)
    return message


def unsaved_message(spec: BatchPredictionSpec) -> pb.BatchPrediction:
    """The batch prediction as it would be, for a request that only checks."""
    return pb.BatchPrediction(
        version=spec.version,
        view=spec.view,
        parts=[NUMBER_OF[part] for part in spec.parts],
        columns=spec.columns,
        only_predictions=not spec.columns,
        dataset_id=spec.dataset_id,
        view_digest=spec.view_digest,
        version_digest=spec.version_digest,
    )


def _progress_message(progress: Progress) -> pb.BatchPredictionProgress:
    return pb.BatchPredictionProgress(
        phase=PHASE_OF[progress.phase],
        fetched_rows=progress.fetched_rows,
        predicted_rows=progress.predicted_rows,
        total_rows=progress.total_rows,
        rows_per_second=progress.rows_per_second,
        uploaded_bytes=progress.uploaded_bytes,
        total_bytes=progress.total_bytes,
    )


def watch_message(message: Job | Event | Heartbeat) -> batch_prediction_service_pb2.WatchBatchPredictionResponse:
    """A message of a watch."""
    match message:
        case Job():
            return batch_prediction_service_pb2.WatchBatchPredictionResponse(snapshot=batch_prediction_message(message))
        case Event():
            return batch_prediction_service_pb2.WatchBatchPredictionResponse(event=event_message(message))
        case Heartbeat(sequence):
            heartbeat = job_pb2.Heartbeat(sequence=sequence)
            return batch_prediction_service_pb2.WatchBatchPredictionResponse(heartbeat=heartbeat)


def event_message(event: Event) -> pb.BatchPredictionEvent:
    """An event of a batch prediction's log."""
    message = pb.BatchPredictionEvent(
        sequence=event.sequence,
        time=timestamp_message(event.time),
        attempt=event.attempt,
        coalesced_from=event.coalesced_from,
    )
    if event.kind == STATE_CHANGED:
        message.state_changed.CopyFrom(state_changed_message(event.payload))
    elif event.kind == PROGRESS:
        message.progress.CopyFrom(_progress_message(Progress.from_json(event.payload)))
    else:
        message.predictions_created.CopyFrom(pb.PredictionsCreated(**event.payload))
    return message
