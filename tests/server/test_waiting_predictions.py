"""Predictions that wait for a network, over a real channel: late ones are never computed, too many are refused."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import grpc_service_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from ml_server.composition import MlService
from ml_server.engines.engine import EngineChoice, EngineMeasurement, EngineName, Features, Outputs
from ml_server.prediction.batcher import Batcher, Computed, Network
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.predictor import Predictor
from ml_server.prediction.repository import Repository
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Statistics
from ml_server.registry.bundle import write_bundle
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.sql import SqlModelStore
from ml_server.rpc.inference_servicer import SCOPES, InferenceServicer
from ml_server.settings import Settings
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from servicekit.images.decoding import ImageDecoder
from servicekit.readiness import Readiness
from servicekit.server import Registration, RpcServer
from servicekit.settings import ServerSettings
from tests.made_versions import numbers_version
from tests.tokens import TokenIssuer

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
ROW_BYTES = 4
# So much that calls of the network go to its threads, and pay to be computed together.
SLOW = EngineMeasurement(engine=EngineName.TORCH, single_row_microseconds=5000, batch_microseconds=5000)


class WatchedBatcher(Batcher):
    """A batcher that tells which calls have come and which have left unanswered."""

    def __init__(self, max_waiting_bytes: int) -> None:
        super().__init__(2, max_waiting_bytes)
        self.came: asyncio.Queue[float] = asyncio.Queue()
        self.left: asyncio.Queue[float] = asyncio.Queue()

    async def run(self, network: Network, features: Features) -> Computed:
        """As Batcher says."""
        self.came.put_nowait(float(features[0, 0]))
        try:
            return await super().run(network, features)
        except asyncio.CancelledError:
            self.left.put_nowait(float(features[0, 0]))
            raise


@dataclass
class Held:
    """Computes nothing until it is let, and keeps the rows that it computes."""

    open: threading.Event = field(default_factory=threading.Event)
    computed: list[float] = field(default_factory=list)

    def run(self, features: Features) -> Outputs:
        """Zeros."""
        assert self.open.wait(30)
        self.computed += features[:, 0].tolist()
        return np.zeros((len(features), 2), np.float32)


@pytest.fixture
def batcher(request: pytest.FixtureRequest) -> WatchedBatcher:
    return WatchedBatcher(getattr(request, "param", 1 << 20))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Held:
    """The network of every version, once it is loaded."""
    held = Held()
    monkeypatch.setattr(ServedVersion, "run", lambda _, features: held.run(features))
    return held


async def add_slow(store: SqlModelStore, artifacts: Path) -> None:
    """Adds the model `slow`, whose version takes a number."""
    bundle = numbers_version(1, (2,))
    choice = EngineChoice(engine=EngineName.TORCH, measurements=(SLOW,))
    details = bundle.details.model_copy(update={"engine": choice})
    write_bundle(artifacts / "slow", replace(bundle, details=details))
    model = await store.create("accounts/ann", "slow", "", bundle.model.config.specification, None)
    await store.add_version(model, details, 1, "slow")


@pytest.fixture
async def server(
    tmp_path: Path, batcher: WatchedBatcher, network: Held, token_issuer: TokenIssuer
) -> AsyncIterator[RpcServer]:
    """A server with the model `slow`."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    store, artifacts, statistics = SqlModelStore(database), FolderArtifacts(tmp_path / "artifacts"), Statistics()
    await add_slow(store, tmp_path / "artifacts")
    versions, loaded, readiness = KnownVersions(store), LoadedVersions(artifacts, 1 << 20), Readiness(database)
    servicer = InferenceServicer(
        Predictor(versions, loaded, batcher, ImageDecoder(100), statistics),
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
    yield server
    network.open.set()
    await server.drain()
    batcher.close()
    await database.close()


@pytest.fixture
async def stub(server: RpcServer) -> AsyncIterator["grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub"]:
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def channel_is_left(channel: grpc.aio.Channel) -> None:
    """Returns when the server has told that it takes no more calls over the channel's connection."""
    state = channel.get_state()
    while state is grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)
        state = channel.get_state()


@pytest.fixture
def metadata(token_issuer: TokenIssuer) -> tuple[tuple[str, str], ...]:
    return token_issuer.metadata()


def asking(number: float) -> pb.ModelInferRequest:
    """A prediction of a row with this number."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=(1, 1))
    return pb.ModelInferRequest(
        model_name="slow", inputs=[tensor], raw_input_contents=[np.array([number], np.float32).tobytes()]
    )


async def test_a_call_whose_deadline_passes_while_it_waits_is_never_computed(
    stub: "grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub",
    batcher: WatchedBatcher,
    network: Held,
    metadata: tuple[tuple[str, str], ...],
) -> None:
    first = asyncio.ensure_future(stub.ModelInfer(asking(1), metadata=metadata))
    assert await batcher.came.get() == 1
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await stub.ModelInfer(asking(2), metadata=metadata, timeout=1)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await batcher.came.get(), await batcher.left.get()) == (2, 2)
    last = asyncio.ensure_future(stub.ModelInfer(asking(3), metadata=metadata))
    assert await batcher.came.get() == 3
    network.open.set()
    await asyncio.gather(first, last)
    assert network.computed == [1, 3]


@pytest.mark.parametrize("batcher", [ROW_BYTES], indirect=True)
async def test_a_call_is_refused_with_a_time_to_wait_if_too_many_wait_already(
    stub: "grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub",
    batcher: WatchedBatcher,
    network: Held,
    metadata: tuple[tuple[str, str], ...],
) -> None:
    calls = []
    for number in (1, 2):
        calls.append(asyncio.ensure_future(stub.ModelInfer(asking(number), metadata=metadata)))
        assert await batcher.came.get() == number
    with pytest.raises(grpc.aio.AioRpcError, match="1 calls with 1 rows wait for this version already") as refused:
        await stub.ModelInfer(asking(3), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]  # it has a call's methods
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToNanoseconds() > 0
    network.open.set()
    await asyncio.gather(*calls)
    assert network.computed == [1, 2]


async def test_a_service_that_ends_answers_calls_that_wait(
    tmp_path: Path, network: Held, token_issuer: TokenIssuer, metadata: tuple[tuple[str, str], ...]
) -> None:
    settings = Settings(
        listen_address="127.0.0.1:0",
        data_directory=tmp_path,
        prediction_threads=2,
        warm_workers=0,
        lame_duck_seconds=0.2,
    )
    service = MlService(settings, token_issuer.verifier, CollectorRegistry())
    await service.prepare()
    database = Database(settings.database("ml"))
    await add_slow(SqlModelStore(database), tmp_path / "ml")
    port = await service.rpc.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [asyncio.ensure_future(stub.ModelInfer(asking(number), metadata=metadata)) for number in (1, 2)]
        await stub.ServerLive(pb.ServerLiveRequest())  # they came before this
        draining = asyncio.create_task(service.rpc.drain())
        await channel_is_left(channel)
        network.open.set()
        await asyncio.gather(*calls)
        await draining
    await database.close()
    await service.close()
