"""WatchTrainingJob over a real connection: a reader that does not read delays no other, and loses only old metrics."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from flare.ml.v1 import training_job_pb2, training_service_pb2, training_service_pb2_grpc
from prometheus_client import CollectorRegistry

from ml_server import tables
from ml_server.registry.models import Models
from ml_server.registry.sql import SqlModelStore
from ml_server.rpc.training_servicer import TrainingServicer
from ml_server.training.events import METRICS, EpochFinished, Progress, draft_of
from ml_server.training.executors.local import LocalExecutor
from ml_server.training.jobs import KIND, TrainingJobs, TrainingSpec, needed_by
from ml_server.training.plans import TrainingPlan
from ml_server.views.scraper import ScraperClient
from servicekit.artifacts import open_artifacts
from servicekit.database import Database
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.store import Outcome
from servicekit.jobs.values import EventDraft, JobState
from servicekit.jobs.wakeups import Wakeups
from servicekit.server import Registration, RpcServer
from servicekit.settings import ServerSettings
from tests.tokens import TokenIssuer

SERVICE = training_service_pb2.DESCRIPTOR.services_by_name["TrainingService"]
SPEC = TrainingSpec(model_id="m", model_uid="u", view="datasets/d/views/v", view_digest="d", plan=TrainingPlan())
OWNER = "accounts/ann"
# So that the connection takes little of what nobody reads: 64 KiB, and no more for a fast network.
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]

Response = training_service_pb2.WatchTrainingJobResponse


class Server:
    """A TrainingService with one job, whose runner is the test."""

    def __init__(self, file: Path, issuer: TokenIssuer) -> None:
        self._database = Database(f"sqlite+aiosqlite:///{file}")
        self._nowhere = grpc.aio.insecure_channel("127.0.0.1:1")
        wakeups = Wakeups()
        self.store = SqlJobStore(self._database, tables.jobs, KIND, wakeups)
        models, scraper = SqlModelStore(self._database), ScraperClient(self._nowhere, _no_token)
        rules = Models(models, open_artifacts(str(file.parent)), scraper, 1, partial(needed_by, self.store))
        servicer = TrainingServicer(
            self.store,
            TrainingJobs(self.store, models, rules, scraper, LocalExecutor(0)),
            JobFollower(self.store, wakeups, metrics=METRICS),
        )
        self._server = RpcServer(
            ServerSettings(listen_address="127.0.0.1:0", lame_duck_seconds=0),
            [Registration(SERVICE, partial(training_service_pb2_grpc.add_TrainingServiceServicer_to_server, servicer))],
            issuer.verifier,
            registry=CollectorRegistry(),
        )

    async def start(self) -> int:
        async with self._database.write() as connection:
            await connection.run_sync(tables.metadata.create_all)
        await self.store.create("a", OWNER, SPEC.to_json(), 3)
        claim = await self.store.claim("one", 3_600)
        assert claim is not None
        self.claim = claim
        return await self._server.start()

    async def close(self) -> None:
        await self._server.drain()
        await self._nowhere.close()
        await self._database.close()


async def _no_token() -> str:
    return ""


@pytest.fixture
async def server(tmp_path: Path, token_issuer: TokenIssuer) -> AsyncIterator[Server]:
    server = Server(tmp_path / "ml.db", token_issuer)
    yield server
    await server.close()


def _progress(step: int) -> EventDraft:
    return draft_of(Progress(0, 1, step, 10_000, 0.5, 1e6, 1.0, 0, None))


def _epoch(number: int) -> EventDraft:
    return draft_of(EpochFinished(number, 0.5, 0.5, (), 0.1, 1.0, 1e6, is_best=True))


async def test_a_watcher_that_does_not_read_delays_no_other_and_loses_only_old_metrics(
    server: Server, token_issuer: TokenIssuer
) -> None:
    port, metadata = await server.start(), token_issuer.metadata(OWNER)
    request = training_service_pb2.WatchTrainingJobRequest(name="trainingJobs/a")
    address = f"127.0.0.1:{port}"
    # Connections of their own: a full one would hold up all its streams.
    options = [*SMALL_WINDOW, ("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(address, options=options) as slow_channel,
        grpc.aio.insecure_channel(address, options=options) as quick_channel,
    ):
        slow = training_service_pb2_grpc.TrainingServiceStub(slow_channel).WatchTrainingJob(request, metadata=metadata)
        await slow.read()  # the snapshot, and then nothing for long
        quick = training_service_pb2_grpc.TrainingServiceStub(quick_channel).WatchTrainingJob(
            request, metadata=metadata
        )
        await quick.read()
        quick_events: list[training_job_pb2.TrainingEvent] = []
        last = 2
        for epoch in range(1, 41):
            steps = [_progress(step) for step in range(50)]
            await server.store.append(server.claim, [*steps, _epoch(epoch)], {})
            last += len(steps) + 1
            while not quick_events or quick_events[-1].sequence < last:
                message = await quick.read()
                assert isinstance(message, Response)
                quick_events.append(message.event)
        await server.store.finish(server.claim, Outcome(JobState.SUCCEEDED, result={"version": "models/m/versions/1"}))
        slow_events = await _rest(slow)
        quick_events += await _rest(quick)
        stub = training_service_pb2_grpc.TrainingServiceStub(quick_channel)
        log = await _listed(stub, metadata)
    assert quick_events == log
    assert [event.sequence for event in log] == list(range(1, last + 2))
    runs = [(event.coalesced_from or event.sequence, event.sequence) for event in slow_events]
    assert [sequence for first, end in runs for sequence in range(first, end + 1)] == list(range(1, last + 2))
    assert len(slow_events) < len(log), "nothing piled up"
    everything_else = [event for event in log if not event.HasField("progress")]
    assert [event for event in slow_events if not event.HasField("progress")] == everything_else
    for event in slow_events:
        event.coalesced_from = 0
        assert event == log[event.sequence - 1]


async def _rest(
    call: grpc.aio.UnaryStreamCall[training_service_pb2.WatchTrainingJobRequest, Response],
) -> list[training_job_pb2.TrainingEvent]:
    """The events of a stream up to its end."""
    events = []
    while isinstance(message := await call.read(), Response):
        if message.HasField("event"):
            events.append(message.event)
    return events


async def _listed(
    stub: "training_service_pb2_grpc.TrainingServiceAsyncStub", metadata: tuple[tuple[str, str], ...]
) -> list[training_job_pb2.TrainingEvent]:
    events: list[training_job_pb2.TrainingEvent] = []
    while True:
        after = events[-1].sequence if events else 0
        page = await stub.ListTrainingJobEvents(
            training_service_pb2.ListTrainingJobEventsRequest(
                name="trainingJobs/a", after_sequence=after, page_size=1_000
            ),
            metadata=metadata,
        )
        events += page.events
        if page.is_complete:
            return events
