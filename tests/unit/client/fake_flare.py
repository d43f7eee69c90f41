# ruff: noqa: N802  # method names are those of the contract
"""A small real server that does what the tests tell it: expire tokens, drop streams, be away."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any, TypedDict

import grpc
from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, token_pb2
from flare.common.v1 import job_pb2
from flare.ml.v1 import (
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    training_job_pb2,
    training_service_pb2,
    training_service_pb2_grpc,
)
from flare.scraper.v1 import dataset_pb2, scraper_service_pb2, scraper_service_pb2_grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

Context = Any  # of grpc.aio, generic over messages that each method has its own of


class Account(TypedDict):
    """The arguments of `connect` that lead to a fake server."""

    auth: str
    scraper: str
    ml: str
    username: str
    password: str


class FakeFlare:
    """Four services in one server on its own thread, with what the tests need of them."""

    def __init__(self) -> None:
        self.token_seconds = 600.0
        self.logins = 0
        self.refreshes = 0
        self.login_delay_seconds = 0.0
        self.predict_delay_seconds = 0.0
        self.predicts = threading.Event()
        self.valid_tokens: set[str] = set()
        self.refresh_token = ""
        self.failures: dict[str, list[grpc.StatusCode]] = {}
        self.calls: list[str] = []
        self.request_ids: list[str] = []
        self.uploaded = b""
        self.views: list[bytes] = []
        self.schema = b""
        self.job = FakeJob()
        self.predicted_batches: list[int] = []
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: grpc.aio.Server | None = None

    def start(self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> None:
        """Listens; at the same address again after `stop`."""
        if not self._thread.is_alive():
            self._thread.start()
        self._run(self._start(address, credentials))

    def stop(self) -> None:
        """Cuts every connection."""
        self._run(self._stop())

    def close(self) -> None:
        """Ends the thread too."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def expire_tokens(self) -> None:
        """Every token handed out so far has ended."""
        self.valid_tokens.clear()

    async def admit(self, context: Context, method: str) -> None:
        """Counts the call, fails it if the test asked for that, and checks its token."""
        self.calls.append(method)
        if self.failures.get(method):
            code = self.failures[method].pop(0)
            if code is grpc.StatusCode.CANCELLED:
                await context.abort(code)  # gRPC itself does this as a server ends, and gives no reason
            await refuse(context, code, "SHUTTING_DOWN", "draining")
        given = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
        if given not in self.valid_tokens:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "the token has ended")

    def issue(self) -> token_pb2.TokenPair:
        """A pair of tokens, the access token valid."""
        number = self.logins + self.refreshes
        self.valid_tokens.add(f"access-{number}")
        self.refresh_token = f"refresh-{number}"
        pair = token_pb2.TokenPair(
            access_token=f"access-{number}", refresh_token=self.refresh_token, subject="accounts/ann"
        )
        pair.access_expire_time.FromNanoseconds(int((time.time() + self.token_seconds) * 1e9))
        return pair

    def _run(self, coroutine: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.result(10)

    async def _start(self, address: str, credentials: grpc.ServerCredentials | None) -> None:
        server = grpc.aio.server()
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(FakeAuth(self), server)  # type: ignore[abstract]  # what it lacks is UNIMPLEMENTED
        training_service_pb2_grpc.add_TrainingServiceServicer_to_server(FakeTraining(self), server)  # type: ignore[abstract]  # what it lacks is UNIMPLEMENTED
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(FakeModels(self), server)  # type: ignore[abstract]  # what it lacks is UNIMPLEMENTED
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(FakePredictions(self), server)  # type: ignore[abstract]  # what it lacks is UNIMPLEMENTED
        scraper_service_pb2_grpc.add_ScraperServiceServicer_to_server(FakeScraper(self), server)  # type: ignore[abstract]  # what it lacks is UNIMPLEMENTED
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        self.address = f"{address.rpartition(':')[0]}:{port}"
        await server.start()
        self._server = server

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)


async def refuse(context: Context, code: grpc.StatusCode, reason: str, message: str, *details: Any) -> None:
    """Ends a call as Flare's services do."""
    packed = []
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain="flare"), *details):
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    await context.abort_with_status(rpc_status.to_status(status))


class FakeJob:
    """A training of so many events, and what is done to those who watch it."""

    def __init__(self) -> None:
        self.event_count = 12
        self.drop_after: list[int] = []
        """At each watch: how many events it gets before its connection breaks."""
        self.end_early_after: list[int] = []
        """At each watch: how many events it gets before the stream ends as if all were well."""
        self.silent_after: list[int] = []
        """At each watch: how many events it gets before nothing comes any more."""
        self.skip: list[int] = []
        """At each watch: an event that is left out."""
        self.coalesced: dict[int, int] = {}
        """Events that are sent for all from another one on: the last of the run to the first."""
        self.watched_after: list[int] = []

    def snapshot(self, name: str, final: bool = True) -> training_job_pb2.TrainingJob:
        """The job."""
        state = job_pb2.JOB_STATE_SUCCEEDED if final else job_pb2.JOB_STATE_RUNNING
        return training_job_pb2.TrainingJob(
            name=name,
            model="models/iris",
            state=state,
            version="models/iris/versions/1",
            last_sequence=self.event_count,
        )

    def event(self, sequence: int) -> training_job_pb2.TrainingEvent:
        """The event of this number."""
        event = training_job_pb2.TrainingEvent(sequence=sequence, coalesced_from=self.coalesced.get(sequence, 0))
        event.epoch_finished.epoch = sequence
        event.epoch_finished.train_loss = 1.0 / sequence
        event.epoch_finished.validation_loss = 2.0 / sequence
        event.epoch_finished.validation_metrics.add(name="accuracy", target="species", value=0.5)
        return event


class FakeAuth(auth_service_pb2_grpc.AuthServiceServicer):
    def __init__(self, flare: FakeFlare) -> None:
        self._flare = flare

    async def Login(self, request: auth_service_pb2.LoginRequest, context: Context) -> token_pb2.TokenPair:
        await asyncio.sleep(self._flare.login_delay_seconds)
        if request.password != "correct horse":
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED", "no such account")
        self._flare.logins += 1
        return self._flare.issue()

    async def RefreshTokens(
        self, request: auth_service_pb2.RefreshTokensRequest, context: Context
    ) -> token_pb2.TokenPair:
        if request.refresh_token != self._flare.refresh_token:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_REJECTED", "used before")
        self._flare.refreshes += 1
        return self._flare.issue()


class FakeTraining(training_service_pb2_grpc.TrainingServiceServicer):
    def __init__(self, flare: FakeFlare) -> None:
        self._flare = flare

    async def CreateTrainingJob(
        self, request: training_service_pb2.CreateTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        self._flare.request_ids.append(request.request_id)
        await self._flare.admit(context, "CreateTrainingJob")
        return self._flare.job.snapshot("trainingJobs/one", final=False)

    async def GetTrainingJob(
        self, request: training_service_pb2.GetTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        await self._flare.admit(context, "GetTrainingJob")
        return self._flare.job.snapshot(request.name)

    async def ListTrainingJobEvents(
        self, request: training_service_pb2.ListTrainingJobEventsRequest, context: Context
    ) -> training_service_pb2.ListTrainingJobEventsResponse:
        await self._flare.admit(context, "ListTrainingJobEvents")
        job = self._flare.job
        last = min(job.event_count, request.after_sequence + 5)
        events = [job.event(sequence) for sequence in range(request.after_sequence + 1, last + 1)]
        return training_service_pb2.ListTrainingJobEventsResponse(events=events, is_complete=last == job.event_count)

    async def WatchTrainingJob(
        self, request: training_service_pb2.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[training_service_pb2.WatchTrainingJobResponse]:
        await self._flare.admit(context, "WatchTrainingJob")
        job = self._flare.job
        job.watched_after.append(request.after_sequence)
        drop_after = job.drop_after.pop(0) if job.drop_after else None
        end_after = job.end_early_after.pop(0) if job.end_early_after else None
        silent_after = job.silent_after.pop(0) if job.silent_after else None
        skipped = job.skip.pop(0) if job.skip else None
        yield training_service_pb2.WatchTrainingJobResponse(snapshot=job.snapshot(request.name, final=False))
        for count, sequence in enumerate(range(request.after_sequence + 1, job.event_count + 1)):
            if count == drop_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "socket closed")
            if count == end_after:
                return
            if count == silent_after:
                await asyncio.sleep(3600)
            is_left_out = any(first <= sequence < last for last, first in job.coalesced.items())
            if sequence != skipped and not is_left_out:
                yield training_service_pb2.WatchTrainingJobResponse(event=job.event(sequence))
        yield training_service_pb2.WatchTrainingJobResponse(snapshot=job.snapshot(request.name))


class FakeModels(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, flare: FakeFlare) -> None:
        self._flare = flare

    async def GetModelVersion(
        self, request: model_service_pb2.GetModelVersionRequest, context: Context
    ) -> model_pb2.ModelVersion:
        await self._flare.admit(context, "GetModelVersion")
        return model_pb2.ModelVersion(name=request.name)

    async def DeleteModel(self, request: model_service_pb2.DeleteModelRequest, context: Context) -> Any:
        await self._flare.admit(context, "DeleteModel")

    async def CreateModel(self, request: model_service_pb2.CreateModelRequest, context: Context) -> model_pb2.Model:
        await self._flare.admit(context, "CreateModel")
        violation = error_details_pb2.BadRequest.FieldViolation(field="model.mlp", description="too wide")
        await refuse(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            "SHAPE_MISMATCH",
            "shapes do not fit",
            error_details_pb2.BadRequest(field_violations=[violation]),
        )
        raise AssertionError

    async def ExportModelVersion(
        self, request: model_service_pb2.ExportModelVersionRequest, context: Context
    ) -> AsyncIterator[model_service_pb2.ExportModelVersionResponse]:
        await self._flare.admit(context, "ExportModelVersion")
        header = model_service_pb2.FileHeader(file_name="../iris.zip", size_bytes=6, sha256="0" * 64)
        yield model_service_pb2.ExportModelVersionResponse(header=header)
        yield model_service_pb2.ExportModelVersionResponse(chunk=b"abcdef")


class FakePredictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, flare: FakeFlare) -> None:
        self._flare = flare

    async def Predict(
        self, request: prediction_service_pb2.PredictRequest, context: Context
    ) -> prediction_service_pb2.PredictResponse:
        await self._flare.admit(context, "Predict")
        self._flare.predicts.set()
        await asyncio.sleep(self._flare.predict_delay_seconds)
        return doubled(request)

    async def PredictStream(
        self, request_iterator: AsyncIterator[prediction_service_pb2.PredictStreamRequest], context: Context
    ) -> AsyncIterator[prediction_service_pb2.PredictStreamResponse]:
        await self._flare.admit(context, "PredictStream")
        drop_after = self._flare.job.drop_after.pop(0) if self._flare.job.drop_after else None
        count = 0
        async for message in request_iterator:
            if count == drop_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "socket closed")
            count += 1
            yield prediction_service_pb2.PredictStreamResponse(response=doubled(message.request))


def doubled(request: prediction_service_pb2.PredictRequest) -> prediction_service_pb2.PredictResponse:
    """Predicts twice the column `x`."""
    values = [2 * value for value in request.columns.columns[0].numbers.values]
    response = prediction_service_pb2.PredictResponse(
        version="models/iris/versions/1", digest="d", row_count=len(values)
    )
    response.targets.add(target="y").regression.values.extend(values)
    return response


class FakeScraper(scraper_service_pb2_grpc.ScraperServiceServicer):
    def __init__(self, flare: FakeFlare) -> None:
        self._flare = flare

    async def GetDataset(self, request: scraper_service_pb2.GetDatasetRequest, context: Context) -> dataset_pb2.Dataset:
        await self._flare.admit(context, "GetDataset")
        return dataset_pb2.Dataset(name=request.name)

    async def ListDatasets(
        self, request: scraper_service_pb2.ListDatasetsRequest, context: Context
    ) -> scraper_service_pb2.ListDatasetsResponse:
        await self._flare.admit(context, "ListDatasets")
        page = int(request.page_token or 0)
        datasets = [dataset_pb2.Dataset(name=f"datasets/d{page}")]
        return scraper_service_pb2.ListDatasetsResponse(
            datasets=datasets, next_page_token=str(page + 1) if page < 2 else ""
        )

    async def UploadDataset(
        self, request_iterator: AsyncIterator[scraper_service_pb2.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.Dataset:
        await self._flare.admit(context, "UploadDataset")
        header: scraper_service_pb2.UploadHeader | None = None
        content = b""
        async for message in request_iterator:
            if message.WhichOneof("message") == "header":
                header = message.header
            else:
                content += message.chunk
        assert header is not None
        assert header.size_bytes == len(content)
        self._flare.request_ids.append(header.request_id)
        self._flare.uploaded = content
        return dataset_pb2.Dataset(name=f"datasets/{header.dataset_id}")

    async def StreamView(
        self, request: scraper_service_pb2.StreamViewRequest, context: Context
    ) -> AsyncIterator[scraper_service_pb2.StreamViewResponse]:
        await self._flare.admit(context, "StreamView")
        drop_after = self._flare.job.drop_after.pop(0) if self._flare.job.drop_after else None
        self._flare.job.watched_after.append(request.start_batch)
        header = scraper_service_pb2.StreamViewHeader(digest="0" * 64, arrow_schema=self._flare.schema)
        yield scraper_service_pb2.StreamViewResponse(header=header)
        for count, index in enumerate(range(request.start_batch, len(self._flare.views))):
            if count == drop_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "socket closed")
            batch = scraper_service_pb2.ViewBatch(index=index, arrow_batch=self._flare.views[index])
            yield scraper_service_pb2.StreamViewResponse(batch=batch)
