"""The port of job stores. Every change of state commits with the event that tells of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from servicekit.errors import FailedPrecondition, FlareError, NotFound, Reason, Unavailable
from servicekit.idempotency import RequestKey
from servicekit.jobs.values import Claim, Event, EventDraft, Job, JobState

Cursor = tuple[datetime, str]


@dataclass(frozen=True)
class Outcome:
    """How a job ends: SUCCEEDED with a result, FAILED with an error, or CANCELLED."""

    state: JobState
    result: dict[str, Any] | None = None
    error: FlareError | None = None


class JobStore(Protocol):
    """Jobs, their attempts and their events. Owners see their own; a runner sees what it claimed."""

    async def create(
        self, job_id: str, owner: str, spec: dict[str, Any], max_attempts: int, request: RequestKey | None = None
    ) -> Job:
        """Queues a job; a repeated request returns the job it made before.

        Raises:
            InvalidArgument: REQUEST_ID_REUSED.
        """
        ...

    async def get(self, owner: str, job_id: str) -> Job:
        """An owner's job. Raises NotFound."""
        ...

    async def page(self, owner: str, before: Cursor | None, limit: int) -> list[Job]:
        """An owner's jobs, newest first, from those before the cursor (create_time, id)."""
        ...

    async def unfinished(self, owner: str) -> list[Job]:
        """An owner's jobs that have not ended, oldest first."""
        ...

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        """A job's events above a sequence, in order."""
        ...

    async def request_cancel(self, owner: str, job_id: str) -> Job:
        """Cancels a queued job at once and asks a running one to stop. Asking twice changes nothing.

        Raises:
            NotFound: The owner has no such job.
            FailedPrecondition: JOB_ENDED, if it succeeded or failed before.
        """
        ...

    async def claim(self, runner: str, lease_seconds: float) -> Claim | None:
        """Takes the oldest job that waits, or whose runner let its lease run out. None if there is none."""
        ...

    async def renew(self, claim: Claim, lease_seconds: float) -> JobState:
        """Holds the job for longer and tells its state, CANCELLING if somebody wants it stopped. Raises ClaimLost."""
        ...

    async def append(self, claim: Claim, drafts: Sequence[EventDraft], progress: dict[str, Any] | None = None) -> None:
        """Adds events and replaces the progress, together. Raises ClaimLost."""
        ...

    async def finish(self, claim: Claim, outcome: Outcome, drafts: Sequence[EventDraft] = ()) -> None:
        """Ends the job, after the last events of its work. Raises ClaimLost."""
        ...

    async def put_back(self, claim: Claim, error: FlareError | None = None) -> None:
        """Queues the job for another attempt. With an error the attempt was lost, and after `max_attempts` of those the
        job fails with ATTEMPTS_EXHAUSTED; without, its runner gives it up on purpose. Raises ClaimLost."""
        ...

    async def take_back(self, runner: str) -> int:
        """Puts back whatever a runner of this name held when it died; called before it claims anew. How many."""
        ...


def no_such_job(kind: str, job_id: str) -> NotFound:
    """What a caller gets who asks for a job that is not theirs or not there."""
    return NotFound(Reason.NOT_FOUND, f"no job '{kind}/{job_id}'", resource=f"{kind}/{job_id}")


def already_ended(kind: str, job: Job) -> FailedPrecondition:
    """What a caller gets who cancels a job that has ended."""
    return FailedPrecondition(
        Reason.JOB_ENDED, f"job '{kind}/{job.id}' has already {job.state.value}", resource=f"{kind}/{job.id}"
    )


def runner_died(runner: str) -> Unavailable:
    """The error of an attempt whose runner stopped without a word."""
    return Unavailable(Reason.DEPENDENCY_UNAVAILABLE, f"runner '{runner}' died or lost its connection")


def exhausted(kind: str, job_id: str, lost: int, last: FlareError) -> Unavailable:
    """The error of a job that infrastructure failed too often."""
    return Unavailable(
        Reason.ATTEMPTS_EXHAUSTED,
        f"job '{kind}/{job_id}' was lost {lost} times, at last because {last.message}: start it again",
        resource=f"{kind}/{job_id}",
    )
