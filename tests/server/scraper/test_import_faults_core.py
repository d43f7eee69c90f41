"""The commonest faults of Kaggle through whole imports, and names that mean harm. `tests/fault` walks all of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2
from google.rpc import error_details_pb2

from tests.kaggle_emulator import FOREVER, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.kaggle_walk import (
    NUMBERS,
    SIZE,
    Case,
    Walk,
    at_the_api,
    in_storage,
    in_the_body,
    reason_of,
    walking,
)

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="module")
SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walk(token_issuer: "TokenIssuer", tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walk]:
    async with walking(token_issuer, tmp_path_factory.mktemp("walk")) as made:
        yield made


async def test_each_fault_once(walk: Walk) -> None:
    storage = RequestKind.STORAGE
    cases = [Case(RequestKind.GET_DATASET, wrong, 1) for wrong in at_the_api()]
    cases += [Case(storage, wrong, 1) for wrong in in_storage()]
    cases += [Case(storage, wrong, 1, on_resume=True) for wrong in in_the_body(SIZE // 4, on_resume=True)]
    assert await walk.complaints(cases) == []


async def test_what_lasts_is_given_up_or_outlived(walk: Walk) -> None:
    lasting = [wrong for wrong in in_the_body(1) if wrong.fault.flip_at is None]
    cases = [Case(RequestKind.STORAGE, wrong, FOREVER) for wrong in [*lasting, *in_the_body(SIZE // 2)]]
    assert await walk.complaints(cases) == []


async def test_a_wait_that_is_too_long_is_told(walk: Walk) -> None:
    ref = walk.offered()
    walk.kaggle.inject(RequestKind.STORAGE, Fault.rate_limited("900"), ref=ref)
    job = await walk.ended(await walk.begun(ref))
    assert reason_of(job) == "SOURCE_RATE_LIMITED"
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in job.error.details)
    assert retry.retry_delay.seconds == 900


@pytest.mark.parametrize(
    "last_segment",
    [".bashrc", "", "..%2f..%2fetc%2fpasswd", "a" * 3000 + ".csv", "%00%01%0a.csv", "%c3%28.csv", "con:%5c%5cx.csv"],
)
async def test_the_name_in_an_address_of_storage_names_nothing_here(walk: Walk, last_segment: str) -> None:
    ref = walk.offered()
    walk.kaggle.catalogue.datasets[-1].publish([EmulatedFile("t.csv", NUMBERS, stored_as=last_segment)])
    job = await walk.ended(await walk.begun(ref))
    assert job.state == SUCCEEDED, job.error.message
    assert await walk.is_right(job, ref)
    assert walk.left() == []


@pytest.mark.parametrize(
    "path", ["../../../etc/passwd.csv", "/etc/passwd.csv", "a/../../b.csv", "a" * 900 + ".csv", ".csv", "a\nb\t.csv"]
)
async def test_a_path_that_means_harm_names_nothing_here(walk: Walk, path: str) -> None:
    ref = walk.offered()
    walk.kaggle.catalogue.datasets[-1].publish([EmulatedFile(path, NUMBERS)])
    request = pb.ImportDatasetRequest(kaggle=source_pb2.KaggleRef(ref=ref, path=path))
    job = await walk.ended(await walk.caller.call("ImportDataset", request))
    assert job.state == SUCCEEDED, job.error.message
    assert await walk.is_right(job, ref)
    assert walk.left() == []


async def test_members_of_the_whole_archive_are_imported_and_kept_in_the_origin(walk: Walk) -> None:
    ref = walk.offered()
    walk.kaggle.catalogue.datasets[-1].publish(
        [EmulatedFile("tables/t.csv", NUMBERS), EmulatedFile("readme.md", b"# Numbers\n")]
    )
    wanted = source_pb2.KaggleRef(ref=ref, members=["tables/*.csv"])
    job = await walk.ended(await walk.caller.call("ImportDataset", pb.ImportDatasetRequest(kaggle=wanted)))
    assert job.state == SUCCEEDED, job.error.message
    dataset = await walk.caller.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))
    assert dataset.origin.kaggle == source_pb2.KaggleRef(ref=ref, version=2, members=["tables/*.csv"])
    assert dataset.digest == walk.digest
    [download] = [each for each in walk.kaggle.requests if (each.kind, each.ref) == (RequestKind.DOWNLOAD, ref)]
    assert "fileName" not in download.body


async def test_an_archive_of_everything_outlives_faults_too(walk: Walk) -> None:
    ref = walk.offered()
    walk.kaggle.inject(RequestKind.STORAGE, Fault(cut_after=1000), 3, ref)
    wanted = source_pb2.KaggleRef(ref=ref, members=["*.csv"])
    job = await walk.ended(await walk.caller.call("ImportDataset", pb.ImportDatasetRequest(kaggle=wanted)))
    assert job.state == SUCCEEDED, job.error.message
    assert walk.kaggle.count(RequestKind.STORAGE, ref) == 4
    assert [file.read_bytes() for file in walk.kept(ref)] == [dataset_of(walk.kaggle, ref).archive_of(1)]


def dataset_of(kaggle: KaggleEmulator, ref: str) -> EmulatedDataset:
    found = kaggle.catalogue.find(ref, None)
    assert found is not None
    return found


async def test_a_file_beyond_the_limit_is_not_taken(token_issuer: "TokenIssuer", tmp_path: Path) -> None:
    async with walking(token_issuer, tmp_path, max_file_bytes=SIZE) as small:
        ref = small.offered(NUMBERS + b"9,81\n")
        job = await small.ended(await small.begun(ref))
        assert reason_of(job) == "FILE_TOO_LARGE"
        assert small.kept(ref) == []
        assert small.left() == []
