"""Imports over the wire: followed, repeated, cancelled, and taken up again after the server's end."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from flare.common.v1 import job_pb2
from flare.scraper.v1 import dataset_pb2, import_job_pb2, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from prometheus_client import CollectorRegistry

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from scraper_server.sql_tables import jobs
from servicekit.database import Database
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.wakeups import Wakeups
from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.server.scraper.scraper_calls import Caller, Server, eventually, files_below

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
NUMBERS = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(20_000))
KAGGLE_NUMBERS = source_pb2.KaggleRef(ref="ann/numbers", path="numbers.csv")


async def imported(caller: Caller, sample: str, **more: Any) -> import_job_pb2.ImportJob:
    request = pb.ImportDatasetRequest(sample=source_pb2.SampleRef(sample=sample), **more)
    job: import_job_pb2.ImportJob = await caller.call("ImportDataset", request)
    return job


async def watched(caller: Caller, job: str, after: int = 0) -> list[pb.WatchImportJobResponse]:
    """Everything that a watch sends to its end."""
    return await caller.stream("WatchImportJob", pb.WatchImportJobRequest(name=job, after_sequence=after))


async def finished(caller: Caller, job: str) -> import_job_pb2.ImportJob:
    """The job as it ended."""
    return (await watched(caller, job))[-1].snapshot


@asynccontextmanager
async def kaggle_server(
    kaggle: KaggleEmulator, issuer: "TokenIssuer", directory: Path
) -> AsyncIterator[tuple[Caller, ScraperService]]:
    """A server of its own that takes the emulator for Kaggle."""
    settings = Settings(
        listen_address="127.0.0.1:0",
        data_directory=directory,
        kaggle_endpoint=kaggle.endpoint,
        kaggle_read_timeout_seconds=1,
        download_cache_bytes=0,
    )
    service = ScraperService(settings, issuer.verifier, CollectorRegistry())
    await service.prepare()
    port = await service.rpc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Server(channel, issuer, directory).caller("accounts/ann"), service
    finally:
        await service.rpc.drain()
        await service.close()


@pytest_asyncio.fixture(loop_scope="session")
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    catalogue = Catalogue([EmulatedDataset("ann/numbers", "Numbers", [EmulatedFile("numbers.csv", NUMBERS)])])
    async with KaggleEmulator(catalogue) as emulator:
        yield emulator


async def test_an_import_tells_each_step_and_ends_with_its_data_set(ann: Caller) -> None:
    job = await imported(ann, "wine", display_name="My wines")
    assert job.state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING)
    assert job.dataset == "datasets/wine"
    assert job.origin.sample.sample == "wine"
    messages = await watched(ann, job.name)
    kinds = [message.WhichOneof("message") for message in messages]
    assert kinds[0] == kinds[-1] == "snapshot"
    events = [message.event for message in messages if message.HasField("event")]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    states = [event.state_changed.state for event in events if event.HasField("state_changed")]
    assert states == [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED]
    phases = [event.progress.phase for event in events if event.HasField("progress")]
    assert phases == sorted(phases)
    assert set(phases) == {
        import_job_pb2.IMPORT_PHASE_RESOLVING,
        import_job_pb2.IMPORT_PHASE_DOWNLOADING,
        import_job_pb2.IMPORT_PHASE_CONVERTING,
        import_job_pb2.IMPORT_PHASE_PROFILING,
    }
    last = events[-3].progress
    assert last.done_bytes == last.total_bytes > 0
    created = events[-2].dataset_created
    assert (created.dataset, created.row_count, created.column_count) == ("datasets/wine", 178, 14)
    ended = messages[-1].snapshot
    assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
    assert ended.last_sequence == events[-1].sequence
    assert [attempt.number for attempt in ended.attempts] == [1]
    dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))
    assert dataset.display_name == "My wines"
    assert dataset.origin.sample.sample == "wine"
    assert dataset.format.kind == dataset_pb2.FileFormat.KIND_PARQUET


async def test_a_watch_resumed_from_any_sequence_misses_and_repeats_nothing(ann: Caller) -> None:
    job = await imported(ann, "iris")
    everything = [message.event for message in await watched(ann, job.name) if message.HasField("event")]
    for after in range(len(everything) + 1):
        messages = await watched(ann, job.name, after)
        assert messages[0].snapshot == messages[-1].snapshot
        assert [message.event for message in messages[1:-1]] == everything[after:]
    beyond = pb.WatchImportJobRequest(name=job.name, after_sequence=len(everything) + 1)
    refusal = await ann.refused("WatchImportJob", beyond)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "EVENTS_OUT_OF_RANGE")


async def test_the_unary_twin_pages_through_the_same_events(ann: Caller) -> None:
    job = await imported(ann, "iris")
    everything = [message.event for message in await watched(ann, job.name) if message.HasField("event")]
    found: list[import_job_pb2.ImportEvent] = []
    complete = False
    while not complete:
        after = found[-1].sequence if found else 0
        request = pb.ListImportJobEventsRequest(name=job.name, after_sequence=after, page_size=3)
        page = await ann.call("ListImportJobEvents", request)
        assert len(page.events) <= 3
        found += page.events
        complete = page.is_complete
    assert found == everything


async def test_names_are_reserved_while_an_import_is_under_way(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with kaggle_server(kaggle, token_issuer, tmp_path) as (ann, _):
        kaggle.inject(RequestKind.STORAGE, Fault(stall_after=1000))
        request = pb.ImportDatasetRequest(kaggle=KAGGLE_NUMBERS, dataset_id="numbers")
        job = await ann.call("ImportDataset", request)
        await kaggle.arrived(RequestKind.STORAGE)
        refusal = await ann.refused("ImportDataset", request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN")
        assert refusal.text.startswith("an import under way makes 'datasets/numbers' already")
        assert (await ann.upload_refused(b"a,b\n1,2\n", dataset_id="numbers")).reason == "NAME_TAKEN"
        second = await ann.call("ImportDataset", pb.ImportDatasetRequest(kaggle=KAGGLE_NUMBERS))
        assert second.dataset.startswith("datasets/numbers-")
        # A cancelled import gives its name back, and leaves nothing behind.
        await ann.call("CancelImportJob", pb.CancelImportJobRequest(name=job.name))
        assert (await finished(ann, job.name)).state == job_pb2.JOB_STATE_CANCELLED
        assert (await finished(ann, second.name)).state == job_pb2.JOB_STATE_SUCCEEDED
        await eventually(lambda: len(files_below(tmp_path)) == 1)
        assert (await ann.refused("GetDataset", pb.GetDatasetRequest(name=job.dataset))).reason == "NOT_FOUND"
        assert (await ann.uploaded(dataset_id="numbers")).name == job.dataset


async def test_a_drained_import_goes_on_after_the_restart_and_its_watch_with_it(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    seen: list[import_job_pb2.ImportEvent] = []
    async with kaggle_server(kaggle, token_issuer, tmp_path) as (ann, service):
        kaggle.inject(RequestKind.STORAGE, Fault(stall_after=100_000))
        job = await ann.call("ImportDataset", pb.ImportDatasetRequest(kaggle=KAGGLE_NUMBERS))

        async def follow() -> None:
            request = pb.WatchImportJobRequest(name=job.name)
            stream = ann.stub.WatchImportJob(request, metadata=ann.metadata, timeout=60)
            async for message in stream:
                seen.extend([message.event] if message.HasField("event") else [])

        watch = asyncio.create_task(follow())
        await kaggle.arrived(RequestKind.STORAGE)
        draining = asyncio.create_task(service.rpc.drain())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await draining
    async with kaggle_server(kaggle, token_issuer, tmp_path) as (ann, _):
        rest = await watched(ann, job.name, seen[-1].sequence)
        events = seen + [message.event for message in rest if message.HasField("event")]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        ended = rest[-1].snapshot
        assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
        assert [attempt.number for attempt in ended.attempts] == [1, 2]
        assert (await ann.call("GetDataset", pb.GetDatasetRequest(name=ended.dataset))).row_count == 20_000
        assert len(files_below(tmp_path)) == 1


async def test_a_job_cancelled_between_two_servers_leaves_nothing(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with kaggle_server(kaggle, token_issuer, tmp_path) as (ann, service):
        kaggle.inject(RequestKind.STORAGE, Fault(stall_after=100_000))
        job = await ann.call("ImportDataset", pb.ImportDatasetRequest(kaggle=KAGGLE_NUMBERS))
        await kaggle.arrived(RequestKind.STORAGE)
        await service.rpc.drain()
    assert any("download" in name for name in files_below(tmp_path))
    store = SqlJobStore(Database(f"sqlite+aiosqlite:///{tmp_path}/scraper.db"), jobs, "importJobs", Wakeups())
    await store.request_cancel("accounts/ann", job.name.removeprefix("importJobs/"))
    async with kaggle_server(kaggle, token_issuer, tmp_path) as (ann, _):
        assert (await finished(ann, job.name)).state == job_pb2.JOB_STATE_CANCELLED
        assert files_below(tmp_path) == []


async def test_a_file_that_is_no_table_fails_the_job_with_the_reason(
    token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    files = [EmulatedFile("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(100))]
    async with (
        KaggleEmulator(Catalogue([EmulatedDataset("ann/art", "Art", files)])) as kaggle,
        kaggle_server(kaggle, token_issuer, tmp_path) as (ann, _),
    ):
        request = pb.ImportDatasetRequest(kaggle=source_pb2.KaggleRef(ref="ann/art", path="picture.csv"))
        job = await ann.call("ImportDataset", request)
        ended = await finished(ann, job.name)
        assert ended.state == job_pb2.JOB_STATE_FAILED
        assert ended.error.message == "file 'picture.csv' is not a table that can be read: it is a PNG image"
        assert ended.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        await eventually(lambda: files_below(tmp_path) == [])


async def test_an_unknown_sample_fails_the_job_and_frees_the_name(ann: Caller) -> None:
    ended = await finished(ann, (await imported(ann, "titanic", dataset_id="mine")).name)
    assert ended.state == job_pb2.JOB_STATE_FAILED
    assert "there is no sample 'titanic': there are breast-cancer" in ended.error.message
    assert (await imported(ann, "iris", dataset_id="mine")).dataset == "datasets/mine"


async def test_an_ended_job_can_not_be_cancelled(ann: Caller) -> None:
    job = await imported(ann, "iris")
    await finished(ann, job.name)
    refusal = await ann.refused("CancelImportJob", pb.CancelImportJobRequest(name=job.name))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED")


async def test_a_repeated_request_returns_its_first_job(ann: Caller) -> None:
    request_id = str(uuid.uuid4())
    first = await imported(ann, "iris", request_id=request_id)
    await finished(ann, first.name)
    assert (await imported(ann, "iris", request_id=request_id)).name == first.name
    other = pb.ImportDatasetRequest(sample=source_pb2.SampleRef(sample="wine"), request_id=request_id)
    assert (await ann.refused("ImportDataset", other)).reason == "REQUEST_ID_REUSED"


async def test_imports_at_once_get_names_of_their_own(ann: Caller) -> None:
    jobs_made = await asyncio.gather(*(imported(ann, "iris") for _ in range(4)))
    assert len({job.dataset for job in jobs_made}) == 4
    ended = [await finished(ann, job.name) for job in jobs_made]
    assert {job.state for job in ended} == {job_pb2.JOB_STATE_SUCCEEDED}


async def test_jobs_are_listed_newest_first_to_their_owner(ann: Caller, bob: Caller) -> None:
    names = [(await imported(ann, sample)).name for sample in ("iris", "wine", "diabetes")]
    await imported(bob, "iris")
    first = await ann.call("ListImportJobs", pb.ListImportJobsRequest(page_size=2))
    rest = await ann.call("ListImportJobs", pb.ListImportJobsRequest(page_token=first.next_page_token))
    assert [job.name for job in (*first.import_jobs, *rest.import_jobs)] == names[::-1]
    assert not rest.next_page_token
    for name in names:
        await finished(ann, name)


async def test_samples_are_searched_and_their_files_listed(ann: Caller) -> None:
    found = await ann.call("SearchDatasets", pb.SearchDatasetsRequest(query="image"))
    assert [(each.source, each.ref) for each in found.datasets] == [(source_pb2.SOURCE_KIND_SAMPLES, "digits")]
    request = pb.ListDatasetFilesRequest(source=source_pb2.SOURCE_KIND_SAMPLES, ref="digits")
    assert [each.path for each in (await ann.call("ListDatasetFiles", request)).files] == ["digits.parquet"]
    unknown = pb.ListDatasetFilesRequest(source=source_pb2.SOURCE_KIND_SAMPLES, ref="titanic")
    refusal = await ann.refused("ListDatasetFiles", unknown)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")


async def test_a_token_that_ends_during_a_watch_ends_the_watch(scraper: Server, token_issuer: "TokenIssuer") -> None:
    ann = scraper.caller()
    job = await imported(ann, "iris")
    await finished(ann, job.name)
    metadata = token_issuer.metadata(ann.subject, seconds=-1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in ann.stub.WatchImportJob(pb.WatchImportJobRequest(name=job.name), metadata=metadata):
            pass
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
