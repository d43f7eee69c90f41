"""Import jobs and their events as messages."""

from typing import Any

from flare.common.v1 import job_pb2
from flare.scraper.v1 import import_job_pb2, scraper_service_pb2
from google.protobuf.duration_pb2 import Duration

from scraper_server.imports.spec import DATASET_CREATED, PROGRESS, ImportProgress, ImportResult, ImportSpec
from scraper_server.rpc.dataset_messages import origin_message
from scraper_server.rpc.enums import IMPORT_PHASE
from servicekit.jobs.follow import Heartbeat
from servicekit.jobs.values import Event, Job
from servicekit.rpc.jobs import STATE_OF, attempt_message, state_changed_message, timestamp_message
from servicekit.rpc.status import status_message

# A time left beyond this says nothing, and some clients' durations end before a double does.
LONGEST_SECONDS = 10 * 365 * 86400


def job_message(job: Job) -> import_job_pb2.ImportJob:
    """An import job."""
    spec = ImportSpec.from_json(job.spec)
    return import_job_pb2.ImportJob(
        name=f"importJobs/{job.id}",
        origin=origin_message(spec.origin),
        dataset=f"datasets/{spec.dataset_id}",
        state=STATE_OF[job.state],
        progress=_progress_message(job.progress) if job.progress else None,
        error=status_message(job.error) if job.error else None,
        attempts=[attempt_message(attempt) for attempt in job.attempts],
        last_sequence=job.last_sequence,
        create_time=timestamp_message(job.create_time),
        start_time=timestamp_message(job.start_time),
        end_time=timestamp_message(job.end_time),
    )


def event_message(event: Event) -> import_job_pb2.ImportEvent:
    """Something that happened."""
    message = import_job_pb2.ImportEvent(sequence=event.sequence, time=timestamp_message(event.time))
    if event.kind == PROGRESS:
        message.progress.CopyFrom(_progress_message(event.payload))
    elif event.kind == DATASET_CREATED:
        result = ImportResult.from_json(event.payload)
        created = import_job_pb2.DatasetCreated(
            dataset=f"datasets/{result.dataset_id}", row_count=result.row_count, column_count=result.column_count
        )
        message.dataset_created.CopyFrom(created)
    else:
        message.state_changed.CopyFrom(state_changed_message(event.payload))
    return message


def watch_response(told: Job | Event | Heartbeat) -> scraper_service_pb2.WatchImportJobResponse:
    """A message of a watch."""
    if isinstance(told, Job):
        return scraper_service_pb2.WatchImportJobResponse(snapshot=job_message(told))
    if isinstance(told, Event):
        return scraper_service_pb2.WatchImportJobResponse(event=event_message(told))
    return scraper_service_pb2.WatchImportJobResponse(heartbeat=job_pb2.Heartbeat(sequence=told.sequence))


def _progress_message(payload: dict[str, Any]) -> import_job_pb2.ImportProgress:
    progress = ImportProgress.from_json(payload)
    remaining = None
    if progress.remaining_seconds is not None:
        remaining = Duration()
        remaining.FromNanoseconds(round(min(progress.remaining_seconds, LONGEST_SECONDS) * 1e9))
    return import_job_pb2.ImportProgress(
        phase=IMPORT_PHASE[progress.phase],
        done_bytes=progress.done_bytes,
        total_bytes=progress.total_bytes,
        bytes_per_second=progress.bytes_per_second,
        remaining_time=remaining,
    )
