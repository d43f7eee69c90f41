"""Kaggle through a running scraper server: search, list, import and watch, with an emulator in Kaggle's place."""

import asyncio
import gzip
import io
import zipfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pyarrow as pa
import pytest
from flare.common.v1 import job_pb2
from flare.scraper.v1 import dataset_pb2, import_job_pb2, scraper_service_pb2_grpc, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from tests.kaggle_emulator import EmulatedFile, Fault, KaggleEmulator, RequestKind, passengers_csv, small_catalogue
from tests.kaggle_emulator.catalogue import Catalogue, EmulatedDataset

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

TITANIC = "yasserh/titanic-dataset"
KAGGLE = source_pb2.SOURCE_KIND_KAGGLE
STREAM_SECONDS = 30


class Caller:
    """Ann, at a server."""

    def __init__(self, channel: grpc.aio.Channel, issuer: "TokenIssuer") -> None:
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(channel)
        self._issuer = issuer

    async def call(self, method: str, request: Any) -> Any:
        return await getattr(self._stub, method)(request, metadata=self._issuer.metadata())

    async def imported(self, ref: str, dataset_id: str, **more: Any) -> import_job_pb2.ImportJob:
        """Starts an import."""
        kaggle = source_pb2.KaggleRef(ref=ref, **more)
        job: import_job_pb2.ImportJob = await self.call(
            "ImportDataset", pb.ImportDatasetRequest(kaggle=kaggle, dataset_id=dataset_id)
        )
        return job

    async def events(self, job: import_job_pb2.ImportJob, after: int = 0) -> AsyncIterator[import_job_pb2.ImportEvent]:
        """Watches a job from a sequence on."""
        request = pb.WatchImportJobRequest(name=job.name, after_sequence=after)
        stream = self._stub.WatchImportJob(request, metadata=self._issuer.metadata(), timeout=STREAM_SECONDS)
        async for message in stream:
            if message.HasField("event"):
                yield message.event

    async def finished(self, job: import_job_pb2.ImportJob) -> import_job_pb2.ImportJob:
        """The job at its end."""
        async for _ in self.events(job):
            pass
        ended: import_job_pb2.ImportJob = await self.call("GetImportJob", pb.GetImportJobRequest(name=job.name))
        return ended


@pytest.fixture
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    async with KaggleEmulator(small_catalogue(), keys={"ann": "secret-key"}) as emulator:
        yield emulator


@asynccontextmanager
async def serving(
    kaggle: KaggleEmulator, issuer: "TokenIssuer", directory: Path, key: str = "secret-key"
) -> AsyncIterator[Caller]:
    settings = Settings(
        listen_address="127.0.0.1:0",
        data_directory=directory,
        kaggle_endpoint=kaggle.endpoint,
        kaggle_username="ann",
        kaggle_key=SecretStr(key),
        processes=1,
        drain_seconds=1,
    )
    service = ScraperService(settings, issuer.verifier, CollectorRegistry())
    await service.prepare()
    port = await service.rpc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Caller(channel, issuer)
    finally:
        await service.rpc.drain()
        await service.close()


@pytest.fixture
async def ann(kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path) -> AsyncIterator[Caller]:
    async with serving(kaggle, token_issuer, tmp_path) as caller:
        yield caller


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, str, status_pb2.Status]:
    """Code, reason, text and whole status of the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # it has what is read of a Call
    assert status is not None
    return caught.value.code(), reason_of(status), status.message, status


def work_left(directory: Path) -> list[Path]:
    return [path for path in (directory / "scraper-work" / "imports").rglob("*") if path.is_file()]


async def test_a_data_set_is_found_listed_imported_and_watched(kaggle: KaggleEmulator, ann: Caller) -> None:
    kaggle.catalogue.datasets[0].publish([EmulatedFile("Titanic-Dataset.csv", passengers_csv(200))])

    page = await ann.call("SearchDatasets", pb.SearchDatasetsRequest(query="titanic", source=KAGGLE))
    [found] = page.datasets
    assert (found.ref, found.version, found.license) == (TITANIC, 2, "CC0: Public Domain")
    listed = await ann.call("ListDatasetFiles", pb.ListDatasetFilesRequest(source=KAGGLE, ref=found.ref))
    assert [file.path for file in listed.files] == ["Titanic-Dataset.csv"]

    job = await ann.imported(found.ref, "titanic")
    events = [event async for event in ann.events(job)]

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].state_changed.state == job_pb2.JOB_STATE_SUCCEEDED
    downloads = [
        event.progress
        for event in events
        if event.progress.phase == import_job_pb2.IMPORT_PHASE_DOWNLOADING and event.progress.done_bytes
    ]
    size = len(passengers_csv(200))
    assert (downloads[-1].done_bytes, downloads[-1].total_bytes) == (size, size)
    dataset: dataset_pb2.Dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name="datasets/titanic"))
    assert dataset.origin.kaggle == source_pb2.KaggleRef(ref=TITANIC, version=2, path="Titanic-Dataset.csv")
    assert dataset.display_name == "Titanic Dataset"
    assert dataset.row_count == 200
    assert [column.name for column in dataset.columns][:3] == ["PassengerId", "Survived", "Pclass"]


async def test_an_older_version_is_imported_as_it_was(kaggle: KaggleEmulator, ann: Caller) -> None:
    kaggle.catalogue.datasets[0].publish([EmulatedFile("Titanic-Dataset.csv", passengers_csv(200))])
    job = await ann.finished(await ann.imported(TITANIC, "old", version=1))
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    dataset: dataset_pb2.Dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name="datasets/old"))
    assert (dataset.origin.kaggle.version, dataset.row_count) == (1, 400)


async def test_a_zipped_file_and_one_with_semicolons_are_imported(ann: Caller) -> None:
    zipped = await ann.finished(await ann.imported("ann/large-passengers", "zipped"))
    wines = await ann.finished(await ann.imported("rajyellow46/wine-quality", "wines", path="red/wines.csv"))
    assert [zipped.state, wines.state] == [job_pb2.JOB_STATE_SUCCEEDED] * 2
    dataset: dataset_pb2.Dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name="datasets/wines"))
    assert [column.name for column in dataset.columns] == ["fixed acidity", "pH", "alcohol", "quality"]


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_dot_", "."), content)
    return buffer.getvalue()


async def test_files_are_taken_out_of_what_they_come_in(kaggle: KaggleEmulator, ann: Caller) -> None:
    table = passengers_csv(50)
    kaggle.catalogue.datasets[0].publish(
        [
            EmulatedFile("a.csv.gz", gzip.compress(table)),
            EmulatedFile("b.csv.zst", pa.compress(table, "zstd", asbytes=True)),
            EmulatedFile("c.zip", packed(c_dot_csv=table, readme_dot_md=b"# Passengers")),
            EmulatedFile("d.csv", table, zipped=True),
            EmulatedFile("sub/e.csv", table),
            EmulatedFile("sub/notes.csv", b"a,b\n1,2\n"),
        ]
    )
    digests = set()
    wanted: dict[str, dict[str, Any]] = {
        "gzip": {"path": "a.csv.gz"},
        "zstd": {"path": "b.csv.zst"},
        "archive": {"path": "c.zip"},
        "sent-zipped": {"path": "d.csv"},
        "member": {"members": ["sub/e*"]},
    }
    for dataset_id, reference in wanted.items():
        job = await ann.finished(await ann.imported(TITANIC, dataset_id, **reference))
        assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
        dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name=f"datasets/{dataset_id}"))
        digests.add(dataset.digest)
        wanted[dataset_id] = {"member": dataset.format.member, "compression": dataset.format.compression}
    assert len(digests) == 1
    assert wanted == {
        "gzip": {"member": "", "compression": dataset_pb2.COMPRESSION_GZIP},
        "zstd": {"member": "", "compression": dataset_pb2.COMPRESSION_ZSTD},
        "archive": {"member": "c.csv", "compression": dataset_pb2.COMPRESSION_ZIP},
        "sent-zipped": {"member": "d.csv", "compression": dataset_pb2.COMPRESSION_ZIP},
        "member": {"member": "sub/e.csv", "compression": dataset_pb2.COMPRESSION_ZIP},
    }


@pytest.mark.parametrize(
    ("members", "reason", "text"),
    [
        (["**"], "INVALID_FIELD", "'sub/a.csv', 'sub/b.csv'"),
        (["nothing/**"], "FILE_PART_NOT_FOUND", "no file that fits 'nothing/**'"),
    ],
)
async def test_members_that_leave_the_table_open_are_told(
    kaggle: KaggleEmulator, ann: Caller, tmp_path: Path, members: list[str], reason: str, text: str
) -> None:
    tables = [EmulatedFile("sub/a.csv", passengers_csv(5)), EmulatedFile("sub/b.csv", passengers_csv(6))]
    kaggle.catalogue.datasets[0].publish(tables)
    job = await ann.finished(await ann.imported(TITANIC, "open", members=members))
    assert (job.state, reason_of(job.error)) == (job_pb2.JOB_STATE_FAILED, reason)
    assert text in job.error.message
    assert work_left(tmp_path) == []


INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
IMPOSSIBLE: list[tuple[str, dict[str, Any], grpc.StatusCode, str, str]] = [
    ("rajyellow46/wine-quality", {}, INVALID, "INVALID_FIELD", "'red/wines.csv', 'white/wines.csv'"),
    ("ann/photos", {}, INVALID, "FILE_NOT_A_TABLE", "'a.jpg'"),
    ("ann/photos", {"path": "a.jpg"}, INVALID, "FILE_NOT_A_TABLE", "a JPEG image"),
    (TITANIC, {"path": "none.csv"}, MISSING, "SOURCE_NOT_FOUND", "it has 'Titanic-Dataset.csv'"),
    (TITANIC, {"version": 7}, MISSING, "SOURCE_NOT_FOUND", "version 7"),
    ("nobody/nothing", {}, MISSING, "SOURCE_NOT_FOUND", "'nobody/nothing'"),
]


async def test_an_import_that_can_not_be_fails_with_the_reason(ann: Caller, tmp_path: Path) -> None:
    for ref, more, code, reason, text in IMPOSSIBLE:
        job = await ann.finished(await ann.imported(ref, "failing", **more))  # the name is free again each time
        assert job.state == job_pb2.JOB_STATE_FAILED
        assert (job.error.code, reason_of(job.error)) == (code.value[0], reason)
        assert text in job.error.message
        assert len(job.attempts) == 1
        assert work_left(tmp_path) == []
    assert (await refusal(ann.call("GetDataset", pb.GetDatasetRequest(name="datasets/failing"))))[1] == "NOT_FOUND"


async def test_corrupt_bytes_fail_the_import_and_leave_nothing(
    kaggle: KaggleEmulator, ann: Caller, tmp_path: Path
) -> None:
    kaggle.inject(RequestKind.STORAGE, Fault(flip_at=500), times=2)
    job = await ann.finished(await ann.imported(TITANIC, "corrupt"))
    assert job.state == job_pb2.JOB_STATE_FAILED
    assert (job.error.code, reason_of(job.error)) == (grpc.StatusCode.DATA_LOSS.value[0], "DOWNLOAD_CORRUPT")
    assert work_left(tmp_path) == []


async def test_a_limited_search_says_when_to_try_again(kaggle: KaggleEmulator, ann: Caller) -> None:
    kaggle.inject(RequestKind.LIST_DATASETS, Fault.rate_limited("120"))
    request = pb.SearchDatasetsRequest(query="titanic", source=KAGGLE)
    code, reason, text, status = await refusal(ann.call("SearchDatasets", request))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SOURCE_RATE_LIMITED")
    assert "try again in 120 s" in text
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds == 120


async def test_refused_credentials_name_the_settings(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path, key="wrong-key") as ann:
        code, reason, text, _ = await refusal(ann.call("SearchDatasets", pb.SearchDatasetsRequest(source=KAGGLE)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SOURCE_CREDENTIALS_REJECTED")
    assert "FLARE_SCRAPER_KAGGLE_KEY" in text
    assert "wrong-key" not in text


async def test_a_cancelled_import_ends_and_leaves_nothing(kaggle: KaggleEmulator, ann: Caller, tmp_path: Path) -> None:
    kaggle.inject(RequestKind.STORAGE, Fault(stall_after=1000), times=9)
    job = await ann.imported(TITANIC, "cancelled")
    await kaggle.arrived(RequestKind.STORAGE)
    await ann.call("CancelImportJob", pb.CancelImportJobRequest(name=job.name))
    async with asyncio.timeout(5):  # much less than Kaggle's silence is borne
        job = await ann.finished(job)
    assert job.state == job_pb2.JOB_STATE_CANCELLED
    assert work_left(tmp_path) == []


async def test_a_download_goes_on_after_a_restart_where_it_was(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    kaggle.inject(RequestKind.STORAGE, Fault(stall_after=1000))
    async with serving(kaggle, token_issuer, tmp_path) as ann:
        job = await ann.imported(TITANIC, "restarted")
        async for event in ann.events(job):
            if event.progress.done_bytes:
                seen = event.sequence
                break
    async with serving(kaggle, token_issuer, tmp_path) as ann:
        later = [event async for event in ann.events(job, seen)]
        ended = await ann.finished(job)
    assert [event.sequence for event in later] == list(range(seen + 1, ended.last_sequence + 1))
    assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
    ranges = [request.headers.get("Range") for request in kaggle.requests if request.kind == RequestKind.STORAGE]
    assert ranges == [None, "bytes=1000-"]


def pets() -> EmulatedDataset:
    """Images in folders, beside a table; and the same in an archive of its own."""
    images = {
        f"images/{kind}/{number}.png": encoded_image(number)
        for kind, first in (("cat", 0), ("dog", 10))
        for number in range(first, first + 5)
    }
    files = [EmulatedFile(path, content, content_type="image/png") for path, content in images.items()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in images.items():
            archive.writestr(path, content)
    more = [EmulatedFile("prices.csv", b"kind,price\ncat,3\n"), EmulatedFile("all/pets.zip", packed.getvalue())]
    return EmulatedDataset("ann/pets", "Pets", [*files, *more])


def encoded_image(level: int) -> bytes:
    sink = io.BytesIO()
    Image.new("L", (4, 4), level).save(sink, "PNG")
    return sink.getvalue()


@pytest.mark.parametrize("wanted", [{"members": ["images/**"]}, {"path": "all/pets.zip"}])
async def test_images_are_imported_as_members_of_the_whole_or_from_an_archive_of_theirs(
    token_issuer: "TokenIssuer", tmp_path: Path, wanted: dict[str, Any]
) -> None:
    async with (
        KaggleEmulator(Catalogue([pets()]), keys={"ann": "secret-key"}) as kaggle,
        serving(kaggle, token_issuer, tmp_path) as ann,
    ):
        job = await ann.finished(await ann.imported("ann/pets", "pets", **wanted))
        assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error.message
        dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name="datasets/pets"))
        assert dataset.row_count == 10
        assert [column.name for column in dataset.columns] == ["image", "label", "path"]
        assert dataset.format.kind == dataset_pb2.FileFormat.KIND_IMAGES
        assert {each.value: each.count for each in dataset.columns[1].statistics.most_frequent} == {"cat": 5, "dog": 5}
