"""Jobs, attempts and states as the contracts have them; import jobs and training jobs share these."""

from datetime import datetime
from typing import Any

from flare.common.v1 import job_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from servicekit.errors import FlareError
from servicekit.jobs.values import Attempt, JobState
from servicekit.rpc.status import status_message

STATE_OF = {
    JobState.QUEUED: job_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: job_pb2.JOB_STATE_RUNNING,
    JobState.CANCELLING: job_pb2.JOB_STATE_CANCELLING,
    JobState.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
    JobState.PAUSING: job_pb2.JOB_STATE_PAUSING,
    JobState.PAUSED: job_pb2.JOB_STATE_PAUSED,
}


def timestamp_message(time: datetime | None) -> Timestamp | None:
    """A point in time, None if there is none (which leaves a message field unset)."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def duration_message(seconds: float) -> Duration:
    """A span of time."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def attempt_message(attempt: Attempt) -> job_pb2.JobAttempt:
    """An attempt."""
    return job_pb2.JobAttempt(
        number=attempt.number,
        runner=attempt.runner,
        start_time=timestamp_message(attempt.start_time),
        end_time=timestamp_message(attempt.end_time),
        error=status_message(attempt.error) if attempt.error else None,
    )


def state_changed_message(payload: dict[str, Any]) -> job_pb2.JobStateChanged:
    """The payload of a `state_changed` event."""
    error = payload["error"]
    return job_pb2.JobStateChanged(
        state=STATE_OF[JobState(payload["state"])],
        attempt=payload["attempt"],
        error=status_message(FlareError.from_json(error)) if error else None,
    )
