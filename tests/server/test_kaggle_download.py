"""Downloading through the real `kaggle` package, against an emulator of Kaggle's API and storage."""

import asyncio
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scraper_server.sources.kaggle.accounts import OperatorAccount
from scraper_server.sources.kaggle.credentials import ApiKey, Credentials
from scraper_server.sources.kaggle.kaggle_source import KaggleSource
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.pace import LeastPace
from scraper_server.sources.kaggle.retries import RetryPolicy
from scraper_server.sources.source import FileRequest
from servicekit.errors import (
    DataLoss,
    FailedPrecondition,
    FlareError,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind

ANN = "accounts/ann"
QUICK = RetryPolicy(tries=3, first_wait_seconds=0.01, longest_asked_wait_seconds=0.5)
MEBIBYTE = 1024 * 1024
TABLE = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(40_000))
REF = "ann/numbers"


class Reported:
    """What a download told of its progress."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.came = asyncio.Event()

    async def __call__(self, done_bytes: int, total_bytes: int) -> None:
        self.steps.append((done_bytes, total_bytes))
        self.came.set()


@asynccontextmanager
async def serving(file: EmulatedFile) -> AsyncIterator[KaggleEmulator]:
    catalogue = Catalogue([EmulatedDataset(REF, "Numbers", [file])])
    async with KaggleEmulator(catalogue, keys={"ann": "secret-key"}) as kaggle:
        yield kaggle


@asynccontextmanager
async def source_for(
    kaggle: KaggleEmulator,
    change: Callable[[KaggleOptions], KaggleOptions] = lambda o: o,
    credentials: Credentials = None,
) -> AsyncIterator[KaggleSource]:
    options = KaggleOptions(endpoint=kaggle.endpoint, read_timeout_seconds=5, call_retries=QUICK, import_retries=QUICK)
    source = KaggleSource(change(options), OperatorAccount(credentials))
    try:
        yield source
    finally:
        await source.drain()


async def taken(source: KaggleSource, directory: Path, reported: Reported | None = None, path: str = "") -> Path:
    file = await source.resolve(ANN, FileRequest(REF, path=path))
    return await source.download(ANN, file, made(directory), reported or Reported())


def made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def names_in(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def test_a_file_arrives_whole_with_its_progress(tmp_path: Path) -> None:
    reported = Reported()
    async with serving(EmulatedFile("sub folder/squares.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        file = await taken(source, tmp_path, reported)
    assert file.read_bytes() == TABLE
    assert names_in(tmp_path) == [file.name]
    assert reported.steps[-1] == (len(TABLE), len(TABLE))
    assert reported.steps == sorted(reported.steps)


async def test_credentials_go_to_the_api_and_never_to_storage(tmp_path: Path) -> None:
    key = ApiKey("ann", "secret-key")
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, credentials=key) as source:
        await taken(source, tmp_path)
    for request in kaggle.requests:
        assert ("Authorization" in request.headers) == (request.kind != RequestKind.STORAGE)


async def test_a_version_is_taken_as_it_was(tmp_path: Path) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        file = await source.resolve(ANN, FileRequest(REF))
        kaggle.catalogue.datasets[0].publish([EmulatedFile("t.csv", b"other,table\n1,2\n")])
        assert (await source.download(ANN, file, tmp_path, Reported())).read_bytes() == TABLE
    assert file.version == 1


async def test_a_file_comes_as_it_is_also_where_kaggle_sends_it_zipped(tmp_path: Path) -> None:
    zipped = EmulatedFile("folder/t.csv", TABLE, zipped=True)
    async with serving(zipped) as kaggle, source_for(kaggle) as source:
        file = await taken(source, tmp_path)
    with zipfile.ZipFile(file) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [TABLE]
    assert names_in(tmp_path) == [file.name]


@pytest.mark.parametrize(("fault", "told"), [(Fault(), len(TABLE)), (Fault(chunked=True), 1)])
async def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, fault: Fault, told: int) -> None:
    def with_limit(options: KaggleOptions) -> KaggleOptions:
        return replace(options, max_file_bytes=1000)

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, with_limit) as source:
        kaggle.inject(RequestKind.STORAGE, fault)
        with pytest.raises(ResourceExhausted, match="at most 1000") as caught:
            await taken(source, tmp_path)
    size = int(caught.value.message.split(" bytes or more")[0].rsplit(" ", 1)[1])
    assert size >= told  # what is announced is refused before it is taken
    assert kaggle.count(RequestKind.STORAGE) == 1


async def test_a_cut_connection_is_gone_on_with_where_it_broke(tmp_path: Path) -> None:
    reported = Reported()
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=100_000))
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=50_000))
        file = await taken(source, tmp_path, reported)
    assert file.read_bytes() == TABLE
    ranges = [request.headers.get("Range") for request in kaggle.requests if request.kind == RequestKind.STORAGE]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert reported.steps[-1] == (len(TABLE), len(TABLE))


async def test_a_download_that_gets_on_may_break_more_often_than_it_has_tries(tmp_path: Path) -> None:
    table = TABLE * 20
    async with serving(EmulatedFile("t.csv", table)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=MEBIBYTE + 10), times=6)
        assert (await taken(source, tmp_path)).read_bytes() == table
    assert kaggle.count(RequestKind.STORAGE) == 7


async def test_a_download_gets_on_though_every_connection_dies_early(tmp_path: Path) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=20_000), times=1000)
        assert (await taken(source, tmp_path)).read_bytes() == TABLE
    ranges = [request.headers.get("Range") for request in kaggle.requests if request.kind == RequestKind.STORAGE]
    assert ranges == [None, *(f"bytes={start}-" for start in range(20_000, len(TABLE), 20_000))]


async def test_a_trickle_of_bytes_is_given_up(tmp_path: Path) -> None:
    def impatient(options: KaggleOptions) -> KaggleOptions:
        return replace(options, least_pace=LeastPace(10_000, 0.2))

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, impatient) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(chunk_bytes=1, pause_seconds=0.01), times=10)
        with pytest.raises(Unavailable, match="bytes come too slowly") as caught:
            await taken(source, tmp_path)
    assert caught.value.reason == Reason.SOURCE_UNAVAILABLE
    assert kaggle.count(RequestKind.STORAGE) == 3


async def test_a_trickle_that_passes_leaves_the_file_right(tmp_path: Path) -> None:
    def impatient(options: KaggleOptions) -> KaggleOptions:
        return replace(options, least_pace=LeastPace(10_000, 0.2))

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, impatient) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(chunk_bytes=1, pause_seconds=0.01))
        assert (await taken(source, tmp_path)).read_bytes() == TABLE


async def test_an_answer_of_the_api_that_trickles_is_given_up() -> None:
    def impatient(options: KaggleOptions) -> KaggleOptions:
        return replace(options, call_timeout_seconds=0.2)

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, impatient) as source:
        kaggle.inject(RequestKind.GET_DATASET, Fault(chunk_bytes=1, pause_seconds=0.02), times=10)
        with pytest.raises(Unavailable, match="does not answer in time"):
            await source.resolve(ANN, FileRequest(REF))
    assert kaggle.count(RequestKind.GET_DATASET) == 3


@pytest.mark.parametrize("fault", [Fault(cut_after=10), Fault(stall_after=10), Fault(503), Fault.html(502)])
async def test_a_download_that_does_not_get_on_is_given_up(tmp_path: Path, fault: Fault) -> None:
    def impatient(options: KaggleOptions) -> KaggleOptions:
        return replace(options, read_timeout_seconds=0.2)

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, impatient) as source:
        kaggle.inject(RequestKind.STORAGE, fault, times=10)
        with pytest.raises(Unavailable) as caught:
            await taken(source, tmp_path)
    assert caught.value.reason == Reason.SOURCE_UNAVAILABLE
    assert "'t.csv' of data set 'ann/numbers'" in caught.value.message
    assert "X-Goog-Signature" not in caught.value.message
    assert kaggle.count(RequestKind.STORAGE) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(503),
        Fault.rate_limited("0"),
        Fault(stall_after=0),
        Fault(stall_after=70_000),
        Fault(chunked=True),
        Fault(chunked=True, cut_after=200_000),
        Fault(chunked=True, without_hash=True, cut_after=200_000),
        Fault(flip_at=300_000),
        Fault(length_delta=-1000),
        Fault(length_delta=1000),
        Fault(without_hash=True),
    ],
)
async def test_after_a_passing_fault_of_storage_the_file_is_right(tmp_path: Path, fault: Fault) -> None:
    def impatient(options: KaggleOptions) -> KaggleOptions:
        return replace(options, read_timeout_seconds=0.3)

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, impatient) as source:
        kaggle.inject(RequestKind.STORAGE, fault)
        assert (await taken(source, tmp_path)).read_bytes() == TABLE


@pytest.mark.parametrize("fault", [Fault(flip_at=300_000), Fault(length_delta=-1000), Fault(flip_at=0, chunked=True)])
async def test_bytes_that_are_wrong_twice_are_corrupt(tmp_path: Path, fault: Fault) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, fault, times=2)
        with pytest.raises(DataLoss) as caught:
            await taken(source, tmp_path)
    assert caught.value.reason == Reason.DOWNLOAD_CORRUPT
    assert "md5" in caught.value.message


async def test_an_address_that_expired_is_asked_for_anew(tmp_path: Path) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=100_000))
        kaggle.inject(RequestKind.STORAGE, Fault(403, body=b"<Error><Code>ExpiredToken</Code></Error>"))
        assert (await taken(source, tmp_path)).read_bytes() == TABLE
    assert kaggle.count(RequestKind.DOWNLOAD) == 2
    assert kaggle.requests[-1].headers["Range"] == "bytes=100000-"


async def test_a_file_that_changed_meanwhile_is_taken_from_its_start(tmp_path: Path) -> None:
    changed = TABLE.replace(b"number", b"digits")
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=100_000))
        file = await source.resolve(ANN, FileRequest(REF))
        task = asyncio.create_task(source.download(ANN, file, tmp_path, Reported()))
        await kaggle.arrived(RequestKind.STORAGE)  # its answer is the old content, as far as it comes
        kaggle.storage.replace(TABLE, changed)
        assert (await task).read_bytes() == changed
    assert kaggle.requests[-1].headers["Range"] == "bytes=100000-"


async def test_a_part_of_an_earlier_attempt_is_gone_on_with(tmp_path: Path) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle:
        kaggle.inject(RequestKind.STORAGE, Fault(cut_after=200_000))
        kaggle.inject(RequestKind.STORAGE, Fault(503), times=2)
        async with source_for(kaggle) as source:
            with pytest.raises(Unavailable):
                await taken(source, tmp_path)
        async with source_for(kaggle) as source:
            assert (await taken(source, tmp_path)).read_bytes() == TABLE
    assert kaggle.requests[-1].headers["Range"] == "bytes=200000-"


@pytest.mark.parametrize("stall_after", [0, 1000])
async def test_a_cancelled_download_ends_within_a_second(tmp_path: Path, stall_after: int) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(stall_after=stall_after), times=9)
        reported = Reported()
        task = asyncio.create_task(taken(source, tmp_path, reported))
        await (reported.came.wait() if stall_after else kaggle.arrived(RequestKind.STORAGE))
        steps, start = len(reported.steps), time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 1
        assert len(reported.steps) == steps
        assert kaggle.count(RequestKind.STORAGE) == 1


async def test_a_cancelled_download_leaves_its_thread_to_the_next_one(tmp_path: Path) -> None:
    def one_at_a_time(options: KaggleOptions) -> KaggleOptions:
        return replace(options, concurrent_downloads=1, read_timeout_seconds=60)

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, one_at_a_time) as source:
        kaggle.inject(RequestKind.STORAGE, Fault(stall_after=1000))
        reported = Reported()
        task = asyncio.create_task(taken(source, tmp_path / "first", reported))
        await reported.came.wait()
        task.cancel()
        async with asyncio.timeout(5):
            assert (await taken(source, tmp_path / "second")).read_bytes() == TABLE


async def test_a_wait_between_tries_can_be_cancelled(tmp_path: Path) -> None:
    def patient(options: KaggleOptions) -> KaggleOptions:
        return replace(options, import_retries=replace(QUICK, longest_asked_wait_seconds=3600))

    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle, patient) as source:
        kaggle.inject(RequestKind.STORAGE, Fault.rate_limited("1800"))
        task = asyncio.create_task(taken(source, tmp_path))
        await kaggle.arrived(RequestKind.STORAGE)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (Fault(401), FailedPrecondition, Reason.SOURCE_CREDENTIALS_REJECTED),
        (Fault(404), NotFound, Reason.SOURCE_NOT_FOUND),
        (Fault.rate_limited("900"), ResourceExhausted, Reason.SOURCE_RATE_LIMITED),
        (Fault(500), Unavailable, Reason.SOURCE_UNAVAILABLE),
        (Fault.html(), Unavailable, Reason.SOURCE_UNAVAILABLE),
    ],
)
async def test_a_refused_download_says_why(
    tmp_path: Path, fault: Fault, error: type[FlareError], reason: Reason
) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.DOWNLOAD, fault, times=3)
        with pytest.raises(error) as caught:
            await taken(source, tmp_path)
    assert caught.value.reason == reason
    assert "'t.csv'" in caught.value.message


async def test_a_page_to_log_in_at_is_no_table(tmp_path: Path) -> None:
    async with serving(EmulatedFile("t.csv", TABLE)) as kaggle, source_for(kaggle) as source:
        kaggle.inject(RequestKind.STORAGE, Fault.html())
        with pytest.raises(FailedPrecondition, match="FLARE_SCRAPER_KAGGLE_USERNAME") as caught:
            await taken(source, tmp_path)
    assert caught.value.reason == Reason.SOURCE_CREDENTIALS_REJECTED


async def test_a_json_file_is_bytes_like_any_other(tmp_path: Path) -> None:
    content = b'{"code": 500, "message": "only data"}'
    file = EmulatedFile("data.json", content, content_type="application/json")
    async with serving(file) as kaggle, source_for(kaggle) as source:
        assert (await taken(source, tmp_path, path="data.json")).read_bytes() == content


async def test_downloads_at_once_stay_apart(tmp_path: Path) -> None:
    tables = {f"{number}.csv": TABLE + b"%d,0\n" % number for number in range(6)}
    files = [EmulatedFile(path, content) for path, content in tables.items()]
    async with (
        KaggleEmulator(Catalogue([EmulatedDataset(REF, "Numbers", files)])) as kaggle,
        source_for(kaggle) as source,
    ):
        folders = [tmp_path / path for path in tables]
        found = await asyncio.gather(*(taken(source, folder, path=folder.name) for folder in folders))
    assert [file.read_bytes() for file in found] == list(tables.values())
