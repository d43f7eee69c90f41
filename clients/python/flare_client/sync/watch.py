# Made from flare_client/aio/watch.py by tools/make_sync_client.py: edit that, then run this.
"""Follows the events of a job across every interruption, without loss or repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import grpc
from flare.common.v1 import job_pb2

from flare_client.backoff import Patience
from flare_client.errors import FlareError
from flare_client.jobs_state import is_final
from flare_client.sync.runtime import Stream, UnaryStreamMultiCallable, closing, sleep
from flare_client.sync.service import REATTACH_SECONDS, OnInterruption, Service


class Job(Protocol):
    """A job of either kind."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> job_pb2.JobState.ValueType: ...
    @property
    def last_sequence(self) -> int: ...


class Event(Protocol):
    """An event of either kind."""

    @property
    def sequence(self) -> int: ...


JobType = TypeVar("JobType", bound=Job)
EventType = TypeVar("EventType", bound=Event)
Request = TypeVar("Request")
Message = TypeVar("Message")


class Watch(Generic[Request, Message, JobType, EventType]):
    """One method that watches a kind of job."""

    def __init__(
        self,
        service: Service,
        method: UnaryStreamMultiCallable[Request, Message],
        request_after: Callable[[int], Request],
        read: Callable[[Message], tuple[JobType | None, EventType | None]],
        first_of: Callable[[EventType], int],
    ) -> None:
        """`request_after` asks for the events above a sequence, `read` takes a message apart: a heartbeat is none.

        `first_of` is the sequence from which on an event stands for all: its own, unless it is coalesced.
        """
        self._service = service
        self._method = method
        self._request_after = request_after
        self._read = read
        self._first_of = first_of

    def follow(self, after: int, on_interruption: OnInterruption | None = None) -> Stream[JobType | EventType]:
        """Yields snapshots of the job as they come, and each event above `after` once, in order, up to the final one.

        Raises:
            FlareError: The service refused, such as NOT_FOUND, or could not be reached for 10 minutes.
        """
        last = after

        def next_request() -> Request:
            return self._request_after(last)

        job: JobType | None = None
        patience = Patience(REATTACH_SECONDS)
        while True:
            stream = self._service.receive(self._method, next_request, on_interruption=on_interruption)
            with closing(stream):
                for message in stream:
                    snapshot, event = self._read(message)
                    if snapshot is not None:
                        job = snapshot
                        yield snapshot
                    elif event is not None and event.sequence > last:
                        if self._first_of(event) > last + 1:
                            break  # something between did not come: ask for it again
                        last = event.sequence
                        patience.succeeded()
                        yield event
            if job is not None and is_final(job.state) and last >= job.last_sequence:
                return
            error = FlareError(
                grpc.StatusCode.DATA_LOSS,
                "",
                f"the stream ended before the job did, after event {last}: watch it again",
            )
            wait = patience.next_wait()
            if wait is None:
                raise error
            if on_interruption is not None:
                on_interruption(error)
            sleep(wait)
