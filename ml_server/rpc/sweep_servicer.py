"""SweepService on the sweeps of this server."""

from collections.abc import AsyncIterator

from flare.ml.v1 import sweep_pb2, sweep_service_pb2, sweep_service_pb2_grpc

from ml_server.rpc.sweep_converters import (
    event_message,
    new_sweep,
    sweep_message,
    trial_message,
    unsaved_sweep_message,
    watch_message,
)
from ml_server.sweeps.jobs import SweepJobs
from servicekit.idempotency import request_key
from servicekit.identity import current_caller
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.store import JobStore
from servicekit.pages import page_size
from servicekit.rpc.interceptor import Context
from servicekit.rpc.pages import next_cursor, number_cursor, number_token, time_cursor, time_token


class SweepServicer(sweep_service_pb2_grpc.SweepServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, store: JobStore, sweeps: SweepJobs, follower: JobFollower) -> None:
        self._store = store
        self._sweeps = sweeps
        self._follower = follower

    async def CreateSweep(self, request: sweep_service_pb2.CreateSweepRequest, context: Context) -> sweep_pb2.Sweep:
        owner, new = current_caller().subject, new_sweep(request.sweep)
        if request.validate_only:
            return unsaved_sweep_message(await self._sweeps.check(owner, new), new.training.priority)
        message = request.SerializeToString(deterministic=True)
        key = request_key(owner, "CreateSweep", request.request_id, message)
        return sweep_message(await self._sweeps.create(owner, new, key))

    async def GetSweep(self, request: sweep_service_pb2.GetSweepRequest, context: Context) -> sweep_pb2.Sweep:
        return sweep_message(await self._store.get(current_caller().subject, _id(request.name)))

    async def ListSweeps(
        self, request: sweep_service_pb2.ListSweepsRequest, context: Context
    ) -> sweep_service_pb2.ListSweepsResponse:
        limit = page_size(request.page_size)
        before = time_cursor("sweeps", request.page_token)
        jobs = await self._store.page(current_caller().subject, before, limit + 1)
        more = time_token("sweeps", next_cursor(jobs, limit, lambda job: (job.create_time, job.id)))
        return sweep_service_pb2.ListSweepsResponse(sweeps=map(sweep_message, jobs[:limit]), next_page_token=more)

    async def CancelSweep(self, request: sweep_service_pb2.CancelSweepRequest, context: Context) -> sweep_pb2.Sweep:
        owner = current_caller().subject
        return sweep_message(await self._store.request_cancel(owner, _id(request.name), keeps_result=request.keep_best))

    async def WatchSweep(
        self, request: sweep_service_pb2.WatchSweepRequest, context: Context
    ) -> AsyncIterator[sweep_service_pb2.WatchSweepResponse]:
        owner = current_caller().subject
        async for message in self._follower.follow(owner, _id(request.name), request.after_sequence):
            yield watch_message(message)

    async def ListSweepEvents(
        self, request: sweep_service_pb2.ListSweepEventsRequest, context: Context
    ) -> sweep_service_pb2.ListSweepEventsResponse:
        job = await self._store.get(current_caller().subject, _id(request.name))
        events = await self._store.events(job.id, request.after_sequence, page_size(request.page_size, default=100))
        last = events[-1].sequence if events else request.after_sequence
        return sweep_service_pb2.ListSweepEventsResponse(
            events=map(event_message, events), is_complete=job.state.is_final and last >= job.last_sequence
        )

    async def ListSweepTrials(
        self, request: sweep_service_pb2.ListSweepTrialsRequest, context: Context
    ) -> sweep_service_pb2.ListSweepTrialsResponse:
        limit, listing = page_size(request.page_size), f"{request.parent}/trials"
        after = number_cursor(listing, request.page_token) or 0
        trials = await self._sweeps.trials(current_caller().subject, _id(request.parent), after, limit + 1)
        more = number_token(listing, next_cursor(trials, limit, lambda trial: trial.number))
        return sweep_service_pb2.ListSweepTrialsResponse(
            trials=map(trial_message, trials[:limit]), next_page_token=more
        )


def _id(name: str) -> str:
    return name.removeprefix("sweeps/")
