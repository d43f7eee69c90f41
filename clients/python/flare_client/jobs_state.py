"""What the two kinds of job have in common for a client."""

from __future__ import annotations

import grpc
from flare.common.v1 import job_pb2
from google.rpc import status_pb2

from flare_client.choices import short_name
from flare_client.errors import FlareError, error_of_status

FINAL_STATES = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})


def is_final(state: job_pb2.JobState.ValueType) -> bool:
    """True if the job will not change any more."""
    return state in FINAL_STATES


def state_name(state: job_pb2.JobState.ValueType) -> str:
    """The state in a word: `running`."""
    return short_name(job_pb2.JobState, state)


def raise_unless_succeeded(name: str, state: job_pb2.JobState.ValueType, error: status_pb2.Status) -> None:
    """Raises FlareError if the job failed, with its reason, or was cancelled."""
    if state == job_pb2.JOB_STATE_FAILED:
        cause = error_of_status(error)
        cause.message = f"{name} failed: {cause.message}"
        raise cause
    if state == job_pb2.JOB_STATE_CANCELLED:
        raise FlareError(grpc.StatusCode.CANCELLED, "", f"{name} was cancelled")
