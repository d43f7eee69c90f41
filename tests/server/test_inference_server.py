"""The Open Inference Protocol on a real port: who may call what, and when the server says that it is ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import grpc_service_pb2_grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

from ml_server.prediction.batcher import Batcher
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.predictor import Predictor
from ml_server.prediction.repository import Repository
from ml_server.prediction.statistics import Statistics
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.sql import SqlModelStore
from ml_server.rpc.inference_servicer import SCOPES, InferenceServicer
from servicekit import readiness as readiness_module
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from servicekit.images.decoding import ImageDecoder
from servicekit.readiness import Readiness
from servicekit.server import Registration, RpcServer
from servicekit.settings import ServerSettings
from tests.tokens import TokenIssuer

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
OPEN = {"ServerLive", "ServerReady"}
STREAM = "ModelStreamInfer"


@pytest.fixture
def readiness(tmp_path: Path) -> Readiness:
    return Readiness(Database(f"sqlite+aiosqlite:///{tmp_path}/later/ml.db"), check_seconds=0.01)


@pytest.fixture
async def channel(tmp_path: Path, readiness: Readiness, token_issuer: TokenIssuer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server with an empty store."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    store, artifacts, statistics = SqlModelStore(database), FolderArtifacts(tmp_path / "artifacts"), Statistics()
    versions, loaded = KnownVersions(store), LoadedVersions(artifacts, 1 << 20)
    batcher = Batcher(threads=2, max_waiting_bytes=1 << 20)
    servicer = InferenceServicer(
        Predictor(versions, loaded, batcher, ImageDecoder(10_000), statistics),
        Repository(store, versions, artifacts, loaded, statistics),
        readiness,
        "1.2.3",
        1 << 24,
    )
    add = partial(grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer)
    server = RpcServer(
        ServerSettings(listen_address="127.0.0.1:0", lame_duck_seconds=0),
        [Registration(SERVICE, add, codecs=servicer.codecs, scopes=SCOPES)],
        token_issuer.verifier,
        registry=CollectorRegistry(),
        readiness=readiness,
    )
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.drain()
    batcher.close()
    await database.close()


async def code_of(channel: grpc.aio.Channel, method: str, metadata: Any = None) -> grpc.StatusCode:
    """How a call with an empty request ends."""
    descriptor = SERVICE.methods_by_name[method]
    empty = GetMessageClass(descriptor.input_type)()
    path = f"/{SERVICE.full_name}/{method}"
    calls: Any = channel  # the stubs know nothing of calls with bytes
    try:
        if method == STREAM:
            async for _ in calls.stream_stream(path)(iter([empty.SerializeToString()]), metadata=metadata):
                pass
        else:
            await calls.unary_unary(path)(empty.SerializeToString(), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_every_method_but_the_probes_needs_a_token_that_may_predict(
    channel: grpc.aio.Channel, token_issuer: TokenIssuer
) -> None:
    others = token_issuer.metadata(scope="models.read models.write")
    own = token_issuer.metadata(scope="predictions.read")
    refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    for method in SERVICE.methods_by_name:
        without, wrong, right = [await code_of(channel, method, each) for each in (None, others, own)]
        expected = (grpc.StatusCode.OK, grpc.StatusCode.OK) if method in OPEN else refusals
        assert (without, wrong) == expected, method
        assert right not in refusals, method
        assert right is not grpc.StatusCode.INTERNAL, method


async def test_a_server_is_ready_while_its_database_answers_and_it_does_not_drain(
    channel: grpc.aio.Channel, readiness: Readiness, tmp_path: Path
) -> None:
    stub: grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def told() -> tuple[bool, bool]:
        live = await stub.ServerLive(pb.ServerLiveRequest())
        ready = await stub.ServerReady(pb.ServerReadyRequest())
        return live.live, ready.ready

    assert await told() == (True, False)  # the folder of its database is not there
    health: Any = health_pb2_grpc.HealthStub(channel)  # the stubs know half of it
    changes = aiter(health.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name)))
    while (await anext(changes)).status != health_pb2.HealthCheckResponse.NOT_SERVING:
        pass
    (tmp_path / "later").mkdir()
    assert await told() == (True, True)
    assert (await anext(changes)).status == health_pb2.HealthCheckResponse.SERVING
    await readiness.drain()
    assert await told() == (True, False)


async def test_all_who_ask_get_the_answer_although_others_ask_anew(tmp_path: Path) -> None:
    readiness = Readiness(Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db"))
    await readiness.start()

    async def ask() -> list[bool]:
        return [await readiness.check() for _ in range(10)]

    answers = await asyncio.gather(*(ask() for _ in range(10)))
    assert all(answer for each in answers for answer in each)


async def test_a_database_that_never_answers_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Database):
        asked = 0

        @asynccontextmanager
        async def read(self) -> AsyncIterator[AsyncConnection]:
            """Waits for ever."""
            self.asked += 1
            await asyncio.Event().wait()
            yield AsyncConnection.__new__(AsyncConnection)

    monkeypatch.setattr(readiness_module, "DATABASE_SECONDS", 0.01)
    database = Silent(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    readiness = Readiness(database)
    await readiness.start()
    assert [await readiness.check() for _ in range(3)] == [False] * 3
    assert database.asked == 1
