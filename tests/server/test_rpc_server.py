"""What every server does around its servicers, on a real port with a real channel."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
from flare.ml.v1 import training_job_pb2, training_service_pb2, training_service_pb2_grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from servicekit.errors import NotFound, Reason
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context
from servicekit.rpc.methods import Method, UnmarkedMethodError, method_table
from servicekit.server import Registration, RpcServer, serve_until_signal
from servicekit.settings import ServerSettings
from tests.tokens import TokenIssuer

SERVICE = training_service_pb2.DESCRIPTOR.services_by_name["TrainingService"]
SCOPE = "training.read training.write"


class Servicer(training_service_pb2_grpc.TrainingServiceServicer):
    """Answers with what it was asked, fails on demand, and streams until it is stopped."""

    def __init__(self) -> None:
        self.streaming = asyncio.Event()
        self.closed = asyncio.Event()
        self.release = asyncio.Event()

    async def GetTrainingJob(  # noqa: N802
        self, request: training_service_pb2.GetTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        if request.name == "trainingJobs/missing":
            raise NotFound(Reason.NOT_FOUND, "no job 'trainingJobs/missing'", resource=request.name)
        if request.name == "trainingJobs/broken":
            raise KeyError("insides")
        return training_job_pb2.TrainingJob(name=current_caller().subject)

    async def WatchTrainingJob(  # noqa: N802
        self, request: training_service_pb2.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[training_service_pb2.WatchTrainingJobResponse]:
        try:
            yield training_service_pb2.WatchTrainingJobResponse()
            self.streaming.set()
            if request.name == "trainingJobs/missing":
                raise NotFound(Reason.NOT_FOUND, "gone midway")
            await self.release.wait()
            yield training_service_pb2.WatchTrainingJobResponse()
        finally:
            self.closed.set()


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()  # type: ignore[abstract]  # what it leaves out answers UNIMPLEMENTED


@pytest.fixture
async def server(servicer: Servicer, token_issuer: TokenIssuer) -> AsyncIterator[RpcServer]:
    server = RpcServer(
        ServerSettings(listen_address="127.0.0.1:0", lame_duck_seconds=0),
        [Registration(SERVICE, partial(training_service_pb2_grpc.add_TrainingServiceServicer_to_server, servicer))],
        token_issuer.verifier,
        registry=CollectorRegistry(),
    )
    yield server
    servicer.release.set()
    await server.drain()


@pytest.fixture
async def channel(server: RpcServer) -> AsyncIterator[grpc.aio.Channel]:
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "training_service_pb2_grpc.TrainingServiceAsyncStub":
    return training_service_pb2_grpc.TrainingServiceStub(channel)


def _get(name: str) -> training_service_pb2.GetTrainingJobRequest:
    return training_service_pb2.GetTrainingJobRequest(name=name)


def _watch(name: str = "trainingJobs/a") -> training_service_pb2.WatchTrainingJobRequest:
    return training_service_pb2.WatchTrainingJobRequest(name=name)


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has a call's methods
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info.reason


async def test_the_caller_of_the_token_reaches_the_servicer(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer
) -> None:
    answer = await stub.GetTrainingJob(_get("trainingJobs/a"), metadata=token_issuer.metadata("accounts/bob", SCOPE))
    assert answer.name == "accounts/bob"


async def test_calls_at_the_same_time_have_each_their_own_caller(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer
) -> None:
    callers = [f"accounts/caller-{number}" for number in range(20)]
    tokens = {caller: token_issuer.metadata(caller, SCOPE) for caller in callers}

    async def ask(caller: str | None) -> str:
        try:
            answer = await stub.GetTrainingJob(_get("trainingJobs/a"), metadata=tokens[caller] if caller else ())
        except grpc.aio.AioRpcError as error:
            return _reason(error)
        return answer.name

    asked = [caller for _ in range(5) for each in callers for caller in (each, None)]
    answers = await asyncio.gather(*map(ask, asked))
    assert answers == [caller or "TOKEN_MISSING" for caller in asked]


async def test_a_delegate_acts_for_the_owner_and_nobody_else_may(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer
) -> None:
    subject = (("flare-subject", "accounts/ann"),)
    delegate = token_issuer.metadata("serviceIdentities/ml", f"{SCOPE} auth.delegate")
    answer = await stub.GetTrainingJob(_get("trainingJobs/a"), metadata=(*delegate, *subject))
    assert answer.name == "accounts/ann"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetTrainingJob(
            _get("trainingJobs/a"), metadata=(*token_issuer.metadata("accounts/bob", SCOPE), *subject)
        )
    assert (caught.value.code(), _reason(caught.value)) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")


async def test_a_call_is_refused_before_its_request_is_looked_at(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer
) -> None:
    invalid = _get("no such form")
    for metadata, code, reason in (
        ((), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        ((("authorization", "Bearer garbage"),), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        (token_issuer.metadata(seconds=-1), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"),
        (token_issuer.metadata(scope="datasets.read"), grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
        (token_issuer.metadata(scope=SCOPE), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetTrainingJob(invalid, metadata=metadata)
        assert (caught.value.code(), _reason(caught.value)) == (code, reason)
    assert "name: does not match" in str(caught.value.details())


async def test_blanks_around_a_token_mean_nothing(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer
) -> None:
    for written in (f" Bearer {token_issuer.token()}", f"bearer  {token_issuer.token()} "):
        await stub.GetTrainingJob(_get("trainingJobs/a"), metadata=(("authorization", written),))


async def test_errors_of_the_domain_become_statuses_in_calls_and_streams(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer, servicer: Servicer
) -> None:
    metadata = token_issuer.metadata(scope=SCOPE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetTrainingJob(_get("trainingJobs/missing"), metadata=metadata)
    assert (caught.value.code(), _reason(caught.value)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.WatchTrainingJob(_watch("trainingJobs/missing"), metadata=metadata):
            pass
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "gone midway")
    assert servicer.closed.is_set()


async def test_an_unforeseen_error_tells_nothing_of_our_insides(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetTrainingJob(_get("trainingJobs/broken"), metadata=token_issuer.metadata(scope=SCOPE))
    assert (caught.value.code(), _reason(caught.value)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "insides" not in str(caught.value.details())


async def test_a_stream_ends_with_its_token(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer, servicer: Servicer
) -> None:
    messages = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.WatchTrainingJob(_watch(), metadata=token_issuer.metadata(scope=SCOPE, seconds=1)):
            messages += 1
    assert messages == 1
    assert (caught.value.code(), _reason(caught.value)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    await asyncio.wait_for(servicer.closed.wait(), 5)


async def test_a_client_that_goes_away_ends_its_handler(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", token_issuer: TokenIssuer, servicer: Servicer
) -> None:
    call = stub.WatchTrainingJob(_watch(), metadata=token_issuer.metadata(scope=SCOPE))
    async for _ in call:
        break
    call.cancel()
    await asyncio.wait_for(servicer.closed.wait(), 5)


async def test_a_drain_turns_health_first_and_lets_calls_end(
    channel: grpc.aio.Channel, server: RpcServer, token_issuer: TokenIssuer, servicer: Servicer
) -> None:
    stub = training_service_pb2_grpc.TrainingServiceStub(channel)
    health: Any = health_pb2_grpc.HealthStub(channel)  # the stubs know half of it
    request = health_pb2.HealthCheckRequest(service=SERVICE.full_name)
    assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    changes = health.Watch(request)
    assert (await anext(aiter(changes))).status == health_pb2.HealthCheckResponse.SERVING
    running = stub.WatchTrainingJob(_watch(), metadata=token_issuer.metadata(scope=SCOPE))
    received = aiter(running)
    await anext(received)
    draining = asyncio.create_task(server.drain())
    assert (await anext(aiter(changes))).status == health_pb2.HealthCheckResponse.NOT_SERVING
    servicer.release.set()
    await anext(received)
    with pytest.raises(StopAsyncIteration):
        await anext(received)
    changes.cancel()
    await asyncio.wait_for(draining, 15)


async def test_reflection_names_every_service(channel: grpc.aio.Channel) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # typed as synchronous
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request])):
        names = {service.name for service in answer.list_services_response.service}
    assert {"flare.ml.v1.TrainingService", "grpc.health.v1.Health"} <= names


def test_a_method_without_a_mark_keeps_the_server_from_starting() -> None:
    file = FileDescriptorProto(name="unmarked.proto", package="unmarked", syntax="proto3")
    file.message_type.add(name="Empty")
    file.service.add(name="Service").method.add(name="Do", input_type=".unmarked.Empty", output_type=".unmarked.Empty")
    pool = DescriptorPool()
    pool.Add(file)
    service: ServiceDescriptor = pool.FindServiceByName("unmarked.Service")
    with pytest.raises(UnmarkedMethodError, match=r"unmarked\.Service\.Do"):
        method_table([service])
    for scopes in ({}, {"Do": "models.read", "Other": None}):
        with pytest.raises(UnmarkedMethodError, match=r"the scopes of unmarked\.Service must be those of its methods"):
            method_table([service], {"unmarked.Service": scopes})
    assert method_table([service], {"unmarked.Service": {"Do": "models.read"}}) == {
        "/unmarked.Service/Do": Method("/unmarked.Service/Do", "models.read")
    }


def test_plain_text_stays_on_this_machine_unless_spelled_out() -> None:
    with pytest.raises(ValueError, match="allow_plaintext=true"):
        ServerSettings(listen_address="0.0.0.0:50051")
    assert ServerSettings(listen_address="0.0.0.0:50051", allow_plaintext=True).allow_plaintext


async def test_collections_while_it_serves_leave_out_what_was_there_at_its_start(server: RpcServer) -> None:
    serving = asyncio.create_task(serve_until_signal(server, ServerSettings(listen_address="127.0.0.1:0")))
    await asyncio.sleep(0)  # now it listens to signals
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        await serving
        assert gc.get_freeze_count() > len(gc.get_objects())
    finally:
        gc.unfreeze()
