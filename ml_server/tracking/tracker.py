"""The port of trackers: what shows trainings beside Flare, and what it is told of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ml_server.training.events import (
    EpochFinished,
    TestFinished,
    TrainingStarted,
    TrainingWarning,
    VersionCreated,
    event_of,
)
from ml_server.training.jobs import KIND, TrainingSpec
from servicekit.jobs.values import STATE_CHANGED, Event, Job, JobState

Parameter = str | int | float | bool


@dataclass(frozen=True)
class TrackedJob:
    """What is known of a training before it begins. `parameters` are those of its plan, such as `optimizer.kind`.

    `base_version` and `sweep` are names, empty for none.
    """

    id: str
    owner: str
    model: str
    view: str
    view_digest: str
    base_version: str
    sweep: str
    parameters: dict[str, Parameter]

    @classmethod
    def of(cls, job: Job) -> "TrackedJob":
        """That of a job."""
        spec = TrainingSpec.model_validate(job.spec)
        return cls(
            id=job.id,
            owner=job.owner,
            model=spec.model_id,
            view=spec.view,
            view_digest=spec.view_digest,
            base_version=spec.base.name if spec.base else "",
            sweep=f"sweeps/{spec.sweep}" if spec.sweep else "",
            parameters=_flat(spec.plan.model_dump(mode="json")),
        )

    @property
    def name(self) -> str:
        """`trainingJobs/{job}`."""
        return f"{KIND}/{self.id}"


@dataclass(frozen=True)
class StateChanged:
    """The job is in another state; `error` says why it failed or lost an attempt, empty otherwise."""

    state: JobState
    error: str


Content = TrainingStarted | EpochFinished | TestFinished | VersionCreated | TrainingWarning | StateChanged
_TRACKED = ("training_started", "epoch_finished", "test_finished", "version_created", "warning")


@dataclass(frozen=True)
class TrackedEvent:
    """An event of a job's log that trackers are told of."""

    sequence: int
    time: datetime
    attempt: int
    content: Content


class Tracker(Protocol):
    """Shows trainings. Its methods may block and fail, and are called by one thread."""

    name: str

    def write(self, job: TrackedJob, events: Sequence[TrackedEvent]) -> None:
        """Shows what happened in a job, each event once: those that it was told before, it leaves out.

        So after an error, or in a new process, the same events may come again.
        """
        ...

    def leave(self, job: TrackedJob) -> None:
        """Lets go of a job that has ended or goes on elsewhere."""
        ...


def tracked_event(event: Event) -> TrackedEvent | None:
    """An event as trackers are told of it; None if they are not."""
    content: Content
    if event.kind == STATE_CHANGED:
        error = event.payload["error"]
        content = StateChanged(JobState(event.payload["state"]), error["message"] if error else "")
    elif event.kind in _TRACKED:
        content = event_of(event.kind, event.payload)  # type: ignore[assignment]  # the kinds are those of Content
    else:
        return None
    return TrackedEvent(event.sequence, event.time, event.attempt, content)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Parameter]:
    """Nested values as one table; what is not set is left out."""
    found: dict[str, Parameter] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found |= {f"{prefix}{name}": json.dumps(value)} if value else {}
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found
