"""Disk quota over the wire: imports and views count, what is deleted makes room, and what is refused leaves nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2
from google.rpc import error_details_pb2
from prometheus_client import CollectorRegistry

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.server.scraper.scraper_calls import Caller, Server, files_below, survival_view

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
NUMBERS = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(20_000))


@asynccontextmanager
async def serving(kaggle: KaggleEmulator, issuer: "TokenIssuer", directory: Path, **more: Any) -> AsyncIterator[Caller]:
    settings = Settings(
        listen_address="127.0.0.1:0",
        data_directory=directory,
        kaggle_endpoint=kaggle.endpoint,
        download_cache_bytes=0,
        **more,
    )
    service = ScraperService(settings, issuer.verifier, CollectorRegistry())
    await service.prepare()
    port = await service.rpc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Server(channel, issuer, directory).caller("accounts/ann")
    finally:
        await service.rpc.drain()
        await service.close()


@pytest_asyncio.fixture(loop_scope="session")
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    files = [EmulatedFile("numbers.csv", NUMBERS), EmulatedFile("others.csv", NUMBERS.replace(b"number", b"other"))]
    async with KaggleEmulator(Catalogue([EmulatedDataset("ann/numbers", "Numbers", files)])) as emulator:
        yield emulator


async def ended(caller: Caller, path: str) -> Any:
    wanted = source_pb2.KaggleRef(ref="ann/numbers", path=path)
    job = await caller.call("ImportDataset", pb.ImportDatasetRequest(kaggle=wanted))
    messages = await caller.stream("WatchImportJob", pb.WatchImportJobRequest(name=job.name))
    return messages[-1].snapshot


def reason_of(job: Any) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in job.error.details)
    return info.reason


async def test_a_file_that_is_announced_too_large_is_not_taken(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path, quota_bytes=len(NUMBERS) - 1) as ann:
        job = await ended(ann, "numbers.csv")
        assert (job.state, reason_of(job)) == (job_pb2.JOB_STATE_FAILED, "QUOTA_EXCEEDED")
        assert "'numbers.csv'" in job.error.message
        assert kaggle.count(RequestKind.STORAGE) == 0
        assert files_below(tmp_path) == []


@pytest.mark.parametrize("fault", [Fault(chunked=True), Fault()])
async def test_bytes_beyond_the_quota_end_the_import_whatever_was_announced(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path, fault: Fault
) -> None:
    def listed_as_small(file: EmulatedFile) -> EmulatedFile:
        return EmulatedFile(file.path, file.content, listed_bytes=10)

    kaggle.catalogue.datasets[0].publish([listed_as_small(file) for file in kaggle.catalogue.datasets[0].files])
    kaggle.inject(RequestKind.STORAGE, fault, times=3)
    async with serving(kaggle, token_issuer, tmp_path, quota_bytes=len(NUMBERS) - 1) as ann:
        job = await ended(ann, "numbers.csv")
        assert (job.state, reason_of(job)) == (job_pb2.JOB_STATE_FAILED, "QUOTA_EXCEEDED")
        assert files_below(tmp_path) == []


async def test_tables_and_views_fill_the_quota_and_deleting_makes_room(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path) as ann:
        first = await ended(ann, "numbers.csv")
        dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name=first.dataset))
    table = dataset.size_bytes
    async with serving(kaggle, token_issuer, tmp_path, quota_bytes=len(NUMBERS) + table // 2) as ann:
        second = await ended(ann, "others.csv")
        assert reason_of(second) == "QUOTA_EXCEEDED"
        await ann.call("DeleteDataset", pb.DeleteDatasetRequest(name=first.dataset))
        second = await ended(ann, "others.csv")
        assert second.state == job_pb2.JOB_STATE_SUCCEEDED
        again = await ended(ann, "numbers.csv")
        assert reason_of(again) == "QUOTA_EXCEEDED"


async def test_a_view_beyond_the_quota_is_refused_and_leaves_nothing(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path) as ann:
        dataset = await ann.uploaded()
    before = files_below(tmp_path)
    async with serving(kaggle, token_issuer, tmp_path, quota_bytes=dataset.size_bytes + 100) as ann:
        request = pb.CreateDatasetViewRequest(parent=dataset.name, view=survival_view())
        refusal = await ann.refused("CreateDatasetView", request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert refusal.text.startswith("the view takes ")
        assert files_below(tmp_path) == before
    async with serving(kaggle, token_issuer, tmp_path) as ann:
        await ann.viewed(dataset, survival_view(), view_id="kept")
    async with serving(kaggle, token_issuer, tmp_path, quota_bytes=dataset.size_bytes + 100) as ann:
        await ann.call("DeleteDatasetView", pb.DeleteDatasetViewRequest(name=f"{dataset.name}/views/kept"))
