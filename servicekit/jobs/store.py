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
    """Jobs, their attempts and their events. Owners see their own; a runner sees what it claimed.

    A cancelled job whose result by then is wanted stays CANCELLING once it has begun, through lost attempts too, until
    its work ends. So does every job of a kind whose work has to be ended in good order, such as one that starts other
    jobs: the store of it is made with `graceful_cancel`.
    """

    async def create(
        self,
        job_id: str,
        owner: str,
        spec: dict[str, Any],
        max_attempts: int,
        request: RequestKey | None = None,
        priority: int = 0,
        resource: str = "",
    ) -> Job:
        """Queues a job; a repeated request returns the job it made before.

        `resource` is what it has to have to itself while it runs.

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

    async def ended(self, job_ids: Sequence[str]) -> set[str]:
        """Those of some jobs, whosever they are, that have ended."""
        ...

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        """A job's events above a sequence, in order."""
        ...

    async def request_cancel(self, owner: str, job_id: str, *, keeps_result: bool = False) -> Job:
        """Cancels a job that waits or pauses at once, and asks a running one to stop. Asking twice changes nothing.

        With `keeps_result` one that has begun is asked too if it waits or pauses: the next attempt ends it.

        Raises:
            NotFound: The owner has no such job.
            FailedPrecondition: JOB_ENDED, if it succeeded or failed before.
        """
        ...

    async def request_pause(self, owner: str, job_id: str) -> Job:
        """Pauses a job that waits at once, and asks a running one to pause. Asking twice changes nothing.

        Raises:
            NotFound: The owner has no such job.
            FailedPrecondition: JOB_ENDED, if it has ended or is asked to stop.
        """
        ...

    async def resume(self, owner: str, job_id: str) -> Job:
        """Puts a paused job back into the queue.

        Raises:
            NotFound: The owner has no such job.
            FailedPrecondition: JOB_NOT_PAUSED; JOB_ENDED.
        """
        ...

    async def claim(
        self, runner: str, lease_seconds: float, owner_limit: int = 0, unavailable: frozenset[str] = frozenset()
    ) -> Claim | None:
        """Takes the first job of the queue, or one whose runner let its lease run out. None if there is none.

        The queue goes by priority, then by age. Jobs of owners who have `owner_limit` with runners wait (0: no limit),
        and so do those whose resource is `unavailable`; they hold up no other.
        """
        ...

    async def renew(self, claim: Claim, lease_seconds: float) -> Job:
        """Holds the job for longer and tells how it is: CANCELLING or PAUSING if somebody wants it to stop or pause.

        Raises ClaimLost."""
        ...

    async def append(self, claim: Claim, drafts: Sequence[EventDraft], progress: dict[str, Any] | None = None) -> None:
        """Adds events and replaces the progress, together. Raises ClaimLost."""
        ...

    async def finish(self, claim: Claim, outcome: Outcome, drafts: Sequence[EventDraft] = ()) -> None:
        """Ends the job, after the last events of its work. Raises ClaimLost."""
        ...

    async def put_back(self, claim: Claim, error: FlareError | None = None) -> None:
        """Pauses a job that is PAUSING, ends one that is CANCELLING, and queues any other for another attempt.

        With an error the attempt was lost, and after `max_attempts` of those the job fails with ATTEMPTS_EXHAUSTED;
        without, its runner gives it up on purpose. Raises ClaimLost."""
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


def not_paused(kind: str, job: Job) -> FailedPrecondition:
    """What a caller gets who resumes a job that does not pause."""
    remedy = "watch it until it is PAUSED" if job.state is JobState.PAUSING else "there is nothing to resume"
    return FailedPrecondition(
        Reason.JOB_NOT_PAUSED, f"job '{kind}/{job.id}' is {job.state.value}: {remedy}", resource=f"{kind}/{job.id}"
    )


def being_cancelled(kind: str, job: Job) -> FailedPrecondition:
    """What a caller gets who pauses a job that somebody wants stopped."""
    return FailedPrecondition(
        Reason.JOB_ENDED, f"job '{kind}/{job.id}' is being cancelled", resource=f"{kind}/{job.id}"
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
