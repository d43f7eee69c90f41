"""A server under load is asked to end: nobody loses a call, and everybody can see that it is about to leave."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from flare.ml.v1 import training_job_pb2, training_service_pb2, training_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from servicekit.database import Database
from servicekit.readiness import Readiness
from servicekit.rpc.interceptor import Context
from servicekit.server import Registration, RpcServer
from servicekit.settings import ServerSettings
from tests.tokens import TokenIssuer

SERVICE = training_service_pb2.DESCRIPTOR.services_by_name["TrainingService"]
REQUEST = training_service_pb2.GetTrainingJobRequest(name="trainingJobs/a")
CLIENTS = 8


class Servicer(training_service_pb2_grpc.TrainingServiceServicer):
    """Answers at once."""

    async def GetTrainingJob(  # noqa: N802
        self, request: training_service_pb2.GetTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        return training_job_pb2.TrainingJob(name=request.name)


class Client:
    """Calls one after the other until one fails."""

    def __init__(self, port: int, issuer: TokenIssuer) -> None:
        self.metadata = issuer.metadata(scope="training.read")
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self.is_at_it = threading.Event()

    def end(self) -> grpc.StatusCode:
        """How the last call ended."""
        stub = training_service_pb2_grpc.TrainingServiceStub(self.channel)
        with self.channel:
            try:
                while True:
                    stub.GetTrainingJob(REQUEST, metadata=self.metadata)
                    self.is_at_it.set()
            except grpc.RpcError as error:
                return error.code()


def server(settings: ServerSettings, issuer: TokenIssuer, readiness: Readiness | None = None) -> RpcServer:
    add = partial(training_service_pb2_grpc.add_TrainingServiceServicer_to_server, Servicer())  # type: ignore[abstract]  # what it leaves out answers UNIMPLEMENTED
    registration = Registration(SERVICE, add)
    return RpcServer(settings, [registration], issuer.verifier, registry=CollectorRegistry(), readiness=readiness)


async def test_calls_of_busy_clients_are_answered_until_the_server_is_gone(token_issuer: TokenIssuer) -> None:
    settings = ServerSettings(listen_address="127.0.0.1:0", lame_duck_seconds=0.2)
    started = server(settings, token_issuer)
    port = await started.start()
    clients = [Client(port, token_issuer) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as threads:
        ends = [threads.submit(client.end) for client in clients]
        for client in clients:
            await asyncio.to_thread(client.is_at_it.wait)
        await started.drain()
        assert Counter(end.result() for end in ends) == {grpc.StatusCode.UNAVAILABLE: CLIENTS}


async def test_a_server_that_is_about_to_leave_says_so_and_still_takes_calls(
    token_issuer: TokenIssuer, tmp_path: Path
) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ready.db")
    readiness = Readiness(database)
    started = server(ServerSettings(listen_address="127.0.0.1:0"), token_issuer, readiness)
    port = await started.start()
    assert await readiness.check()
    draining = asyncio.create_task(started.drain())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # the stubs know half of it
        for name in ("", SERVICE.full_name):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not await readiness.check()
        stub: training_service_pb2_grpc.TrainingServiceAsyncStub
        stub = training_service_pb2_grpc.TrainingServiceStub(channel)
        await stub.GetTrainingJob(REQUEST, metadata=token_issuer.metadata(scope="training.read"))
        assert not draining.done()
        await draining
    await database.close()
