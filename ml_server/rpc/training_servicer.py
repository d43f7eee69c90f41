"""TrainingService on the training jobs of this server."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from flare.ml.v1 import training_job_pb2, training_service_pb2, training_service_pb2_grpc

from ml_server.rpc.shared_messages import SharedMessages
from ml_server.rpc.training_converters import event_message, job_message, new_training, unsaved_job_message
from ml_server.training.jobs import TrainingJobs
from servicekit.idempotency import request_key
from servicekit.identity import current_caller
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.store import JobStore
from servicekit.pages import page_size
from servicekit.rpc.interceptor import Context
from servicekit.rpc.pages import next_cursor, time_cursor, time_token


class TrainingServicer(training_service_pb2_grpc.TrainingServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, store: JobStore, jobs: TrainingJobs, follower: JobFollower) -> None:
        self._store = store
        self._jobs = jobs
        self._follower = follower
        self._messages = SharedMessages()

    async def CreateTrainingJob(
        self, request: training_service_pb2.CreateTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        owner, new = current_caller().subject, new_training(request.training_job)
        if request.validate_only:
            return unsaved_job_message(await self._jobs.check(owner, new))
        message = request.SerializeToString(deterministic=True)
        key = request_key(owner, "CreateTrainingJob", request.request_id, message)
        return job_message(await self._jobs.create(owner, new, key))

    async def GetTrainingJob(
        self, request: training_service_pb2.GetTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        return job_message(await self._store.get(current_caller().subject, _id(request.name)))

    async def ListTrainingJobs(
        self, request: training_service_pb2.ListTrainingJobsRequest, context: Context
    ) -> training_service_pb2.ListTrainingJobsResponse:
        limit = page_size(request.page_size)
        before = time_cursor("trainingJobs", request.page_token)
        jobs = await self._store.page(current_caller().subject, before, limit + 1)
        more = time_token("trainingJobs", next_cursor(jobs, limit, lambda job: (job.create_time, job.id)))
        return training_service_pb2.ListTrainingJobsResponse(
            training_jobs=[job_message(job, with_network=False) for job in jobs[:limit]], next_page_token=more
        )

    async def CancelTrainingJob(
        self, request: training_service_pb2.CancelTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        owner = current_caller().subject
        return job_message(await self._store.request_cancel(owner, _id(request.name), keeps_result=request.keep_best))

    async def PauseTrainingJob(
        self, request: training_service_pb2.PauseTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        return job_message(await self._store.request_pause(current_caller().subject, _id(request.name)))

    async def ResumeTrainingJob(
        self, request: training_service_pb2.ResumeTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        return job_message(await self._store.resume(current_caller().subject, _id(request.name)))

    async def WatchTrainingJob(
        self, request: training_service_pb2.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[training_service_pb2.WatchTrainingJobResponse]:
        job_id = _id(request.name)
        messages = self._follower.follow(current_caller().subject, job_id, request.after_sequence)
        async with aclosing(messages):
            async for message in messages:
                yield self._messages.of(job_id, message)

    async def ListTrainingJobEvents(
        self, request: training_service_pb2.ListTrainingJobEventsRequest, context: Context
    ) -> training_service_pb2.ListTrainingJobEventsResponse:
        job = await self._store.get(current_caller().subject, _id(request.name))
        events = await self._store.events(job.id, request.after_sequence, page_size(request.page_size, default=100))
        last = events[-1].sequence if events else request.after_sequence
        return training_service_pb2.ListTrainingJobEventsResponse(
            events=map(event_message, events), is_complete=job.state.is_final and last >= job.last_sequence
        )


def _id(name: str) -> str:
    return name.removeprefix("trainingJobs/")
