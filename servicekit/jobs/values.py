"""What a durable job is: its life, its attempts and its numbered events."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from servicekit.errors import FlareError

STATE_CHANGED = "state_changed"


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if nothing can happen to the job any more."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
HELD_STATES = frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.PAUSING})
"""Those of a job that has a runner."""


@dataclass(frozen=True)
class Attempt:
    """One runner's try at a job, numbered from 1."""

    number: int
    runner: str
    start_time: datetime
    end_time: datetime | None = None
    error: FlareError | None = None


@dataclass(frozen=True)
class Job:
    """A job as it is now. `spec`, `progress` and `result` are JSON objects that only its kind of work understands."""

    id: str
    owner: str
    spec: dict[str, Any]
    state: JobState
    max_attempts: int
    create_time: datetime
    last_sequence: int = 0
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: FlareError | None = None
    attempts: tuple[Attempt, ...] = ()
    start_time: datetime | None = None
    end_time: datetime | None = None
    priority: int = 0
    keeps_result: bool = False
    """True if it was cancelled by somebody who wants what it has by then."""
    queue_position: int = 0
    """From 1 while it is QUEUED."""
    resource: str = ""
    """What it has to have to itself while it runs, in the words of its runners' Resources; empty for nothing."""


@dataclass(frozen=True)
class EventDraft:
    """An event before it has its number. `payload` is a JSON object."""

    kind: str
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened in a job. Sequences are 1, 2, 3, ... without gap."""

    sequence: int
    time: datetime
    attempt: int
    kind: str
    payload: dict[str, Any]
    coalesced_from: int = 0
    """Above 0 where a watcher is sent this one for all events from that sequence on."""

    @property
    def is_final(self) -> bool:
        """True if the job ended with this event."""
        return self.kind == STATE_CHANGED and JobState(self.payload["state"]).is_final


@dataclass(frozen=True)
class Claim:
    """A runner's hold on a job. A later attempt shuts it out."""

    job: Job
    attempt: int
    runner: str


class ClaimLost(Exception):
    """The job has another attempt, or has ended: what this attempt does no longer counts."""


class LostAttempt(Exception):
    """The work could not go on for a reason that lies neither in the job's input nor in its code."""

    def __init__(self, error: FlareError) -> None:
        super().__init__(error.message)
        self.error = error


def state_changed(state: JobState, attempt: int, error: FlareError | None = None) -> EventDraft:
    """The event that tells of a change of state."""
    payload = {"state": state.value, "attempt": attempt, "error": error.to_json() if error else None}
    return EventDraft(STATE_CHANGED, payload)
