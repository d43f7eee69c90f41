"""Many import the same file: Kaggle is asked once for its bytes, and each time whether somebody may have them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from flare.common.v1 import job_pb2
from flare.scraper.v1 import import_job_pb2, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from pydantic import SecretStr

from tests.kaggle_emulator import Catalogue, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.kaggle_walk import NUMBERS, SIZE, Walk, reason_of, served
from tests.server.scraper.scraper_calls import Caller

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED


@pytest_asyncio.fixture(loop_scope="session")
async def walk(token_issuer: "TokenIssuer", tmp_path: Path) -> AsyncIterator[Walk]:
    account = {"kaggle_username": "ann", "kaggle_key": SecretStr("key-of-ann")}
    keys = {"ann": "key-of-ann", "bob": "key-of-bob"}
    async with (
        KaggleEmulator(Catalogue([]), keys=keys) as kaggle,
        served(token_issuer, tmp_path, kaggle, credentials_keys=SecretStr("A" * 43 + "="), **account) as made,
    ):
        yield made


def bob_of(walk: Walk) -> Caller:
    return Caller(walk.caller.stub, walk.caller.issuer, "accounts/bob")


async def progress_of(walk: Walk, job: Any, caller: Any) -> list[Any]:
    """What the job told of its download."""
    messages = await caller.stream("WatchImportJob", pb.WatchImportJobRequest(name=job.name))
    told = [message.event.progress for message in messages if message.event.HasField("progress")]
    return [each for each in told if each.phase == import_job_pb2.IMPORT_PHASE_DOWNLOADING and each.done_bytes]


async def test_imports_at_once_share_one_transfer_and_have_their_own_progress(walk: Walk) -> None:
    ref, bob = walk.offered(), bob_of(walk)
    walk.kaggle.inject(RequestKind.STORAGE, Fault(pause_seconds=0.2, chunk_bytes=SIZE // 4), ref=ref)
    callers = [walk.caller, walk.caller, bob]
    jobs = await asyncio.gather(*(walk.begun(ref, caller) for caller in callers))
    ended = await asyncio.gather(*(walk.ended(job, caller) for job, caller in zip(jobs, callers, strict=True)))
    assert {job.state for job in ended} == {SUCCEEDED}
    assert walk.kaggle.count(RequestKind.STORAGE, ref) == walk.kaggle.count(RequestKind.DOWNLOAD, ref) == 1
    assert walk.kaggle.count(RequestKind.GET_DATASET, ref) == walk.kaggle.count(RequestKind.LIST_FILES, ref) == 3
    for job, caller in zip(jobs, callers, strict=True):
        last = (await progress_of(walk, job, caller))[-1]
        assert (last.done_bytes, last.total_bytes) == (SIZE, SIZE)
    digests = {
        (await caller.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))).digest
        for job, caller in zip(jobs, callers, strict=True)
    }
    assert len(digests) == 1


async def test_who_began_is_cancelled_and_the_others_go_on(walk: Walk) -> None:
    ref, bob = walk.offered(), bob_of(walk)
    walk.kaggle.inject(RequestKind.STORAGE, Fault(stall_after=SIZE // 2), ref=ref)
    first = await walk.begun(ref)
    await walk.kaggle.arrived(RequestKind.STORAGE, ref)
    second = await walk.begun(ref, bob)
    await walk.kaggle.arrived(RequestKind.LIST_FILES, ref, 2)
    await walk.caller.call("CancelImportJob", pb.CancelImportJobRequest(name=first.name))
    assert (await walk.ended(first)).state == job_pb2.JOB_STATE_CANCELLED
    assert (await walk.ended(second, bob)).state == SUCCEEDED
    assert [file.read_bytes() for file in walk.kept(ref)] == [NUMBERS]


async def test_a_finished_download_serves_later_imports_once_kaggle_has_said_that_it_may(walk: Walk) -> None:
    ref, bob = walk.offered(), bob_of(walk)
    assert (await walk.ended(await walk.begun(ref))).state == SUCCEEDED
    assert (await walk.ended(await walk.begun(ref, bob), bob)).state == SUCCEEDED
    assert walk.kaggle.count(RequestKind.STORAGE, ref) == walk.kaggle.count(RequestKind.DOWNLOAD, ref) == 1
    assert walk.kaggle.count(RequestKind.GET_DATASET, ref) == 2
    walk.kaggle.inject(RequestKind.GET_DATASET, Fault(404), ref=ref)
    assert reason_of(await walk.ended(await walk.begun(ref))) == "SOURCE_NOT_FOUND"
    assert walk.left() == []


async def test_a_new_version_is_another_file(walk: Walk) -> None:
    ref = walk.offered()
    first = await walk.ended(await walk.begun(ref))
    walk.kaggle.catalogue.datasets[-1].publish([EmulatedFile("t.csv", NUMBERS + b"8000,64000000\n")])
    second = await walk.ended(await walk.begun(ref))
    counts = [
        (await walk.caller.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))).row_count
        for job in (first, second)
    ]
    assert counts == [8000, 8001]
    assert walk.kaggle.count(RequestKind.STORAGE, ref) == 2


async def test_a_private_data_set_is_shared_with_nobody(walk: Walk) -> None:
    ref, bob = walk.offered(private_to="ann"), bob_of(walk)
    for _ in range(2):
        assert (await walk.ended(await walk.begun(ref))).state == SUCCEEDED
    assert walk.kaggle.count(RequestKind.STORAGE, ref) == 2
    assert walk.kept(ref) == []
    await own_credentials(bob)
    assert reason_of(await walk.ended(await walk.begun(ref, bob), bob)) == "SOURCE_NOT_FOUND"
    assert walk.left() == []


async def test_what_is_seen_with_personal_credentials_only_is_shared_with_nobody(walk: Walk) -> None:
    ref, bob = walk.offered(private_to="bob", is_said_private=False), bob_of(walk)
    await own_credentials(bob)
    for _ in range(2):
        assert (await walk.ended(await walk.begun(ref, bob), bob)).state == SUCCEEDED
    assert walk.kaggle.count(RequestKind.STORAGE, ref) == 2
    assert walk.kept(ref) == []


async def own_credentials(caller: Any) -> None:
    key = source_pb2.KaggleApiKey(username="bob", key="key-of-bob")
    await caller.call("SetSourceCredentials", pb.SetSourceCredentialsRequest(kaggle_api_key=key))


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(chunk_bytes=SIZE // 40, pause_seconds=0.05)], ids=["fast", "dripping"]
)
async def test_no_second_has_more_than_ten_events(walk: Walk, fault: Fault) -> None:
    ref = walk.offered()
    walk.kaggle.inject(RequestKind.STORAGE, fault, ref=ref)
    job = await walk.begun(ref)
    messages = await walk.caller.stream("WatchImportJob", pb.WatchImportJobRequest(name=job.name))
    times = [message.event.time.ToDatetime() for message in messages if message.HasField("event")]
    assert all(later - first > timedelta(seconds=1) for first, later in zip(times, times[10:], strict=False))
    told = await progress_of(walk, job, walk.caller)
    assert [each.done_bytes for each in told] == sorted(each.done_bytes for each in told)
    assert (told[-1].done_bytes, told[-1].total_bytes) == (SIZE, SIZE)
    if fault.pause_seconds:
        assert len(told) > 3
        for each in told[1:-1]:
            left = each.remaining_time.ToTimedelta().total_seconds()
            assert left == pytest.approx((SIZE - each.done_bytes) / each.bytes_per_second, rel=0.01)
        # 40 pieces with 0.05 s before each take at least 2 s.
        assert 0 < told[-1].bytes_per_second <= SIZE / 1.5
