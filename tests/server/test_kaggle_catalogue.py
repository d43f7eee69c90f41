"""Searching, listing and resolving through the real `kaggle` package, against an emulator of Kaggle's API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scraper_server.sources.kaggle.accounts import OperatorAccount
from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey, Credentials
from scraper_server.sources.kaggle.kaggle_source import KaggleSource
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.retries import RetryPolicy
from scraper_server.sources.search import Search
from scraper_server.sources.source import FileRequest, ResolvedFile, SourceDataset, SourceKind
from servicekit.errors import (
    FailedPrecondition,
    FlareError,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from tests.kaggle_emulator import (
    Catalogue,
    EmulatedDataset,
    EmulatedFile,
    Fault,
    KaggleEmulator,
    RequestKind,
    small_catalogue,
)

ANN = "accounts/ann"
QUICK = RetryPolicy(tries=3, first_wait_seconds=0.01, longest_asked_wait_seconds=0.5)


@pytest.fixture
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    emulator = KaggleEmulator(small_catalogue(), keys={"ann": "secret-key"}, tokens={"secret-token": "ann"})
    async with emulator:
        yield emulator


@asynccontextmanager
async def source_for(
    emulator: KaggleEmulator, credentials: Credentials = None, read_timeout_seconds: float = 5
) -> AsyncIterator[KaggleSource]:
    options = KaggleOptions(
        endpoint=emulator.endpoint,
        read_timeout_seconds=read_timeout_seconds,
        call_retries=QUICK,
        import_retries=QUICK,
    )
    source = KaggleSource(options, OperatorAccount(credentials))
    try:
        yield source
    finally:
        await source.drain()


async def test_search_tells_what_kaggle_says_of_a_data_set(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        page = await source.search(ANN, Search("titanic"), 20, "")
    size = len(kaggle.catalogue.datasets[0].files[0].content) + len(b"# Titanic\n")
    assert page.datasets == (
        SourceDataset(
            source=SourceKind.KAGGLE,
            ref="yasserh/titanic-dataset",
            title="Titanic Dataset",
            subtitle="Titanic survival prediction",
            size_bytes=size,
            license="CC0: Public Domain",
            version=1,
            update_time=datetime(2024, 3, 2, 8, 30, 15, 250_000, tzinfo=UTC),
            download_count=148_225,
            vote_count=613,
            url="https://www.kaggle.com/datasets/yasserh/titanic-dataset",
            tags=("beginner", "binary classification"),
        ),
    )
    assert page.next_cursor == ""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
async def test_search_pages_hold_every_data_set_once(size: int) -> None:
    refs = [f"ann/number-{number}" for number in range(7)]
    table = [EmulatedFile("t.csv", b"a\n1\n")]
    catalogue = Catalogue([EmulatedDataset(ref, ref, table) for ref in refs])
    async with KaggleEmulator(catalogue) as kaggle, source_for(kaggle) as source:
        found, cursor = [], ""
        for _ in refs:
            page = await source.search(ANN, Search(), size, cursor)
            assert len(page.datasets) <= size
            found += [dataset.ref for dataset in page.datasets]
            cursor = page.next_cursor
            if not cursor:
                break
    assert found == refs


async def test_files_are_listed_page_by_page() -> None:
    paths = [f"folder/part-{number:03}.csv" for number in range(45)]
    catalogue = Catalogue([EmulatedDataset("ann/parts", "Parts", [EmulatedFile(path, b"a\n1\n") for path in paths])])
    async with KaggleEmulator(catalogue) as kaggle, source_for(kaggle) as source:
        first = await source.list_files(ANN, "ann/parts", 0, 30, "")
        second = await source.list_files(ANN, "ann/parts", 0, 30, first.next_cursor)
    assert [file.path for file in (*first.files, *second.files)] == paths
    assert second.next_cursor == ""
    assert first.files[0].size_bytes == 4
    assert first.files[0].create_time == datetime(2024, 3, 1, 8, 30, 15, 250_000, tzinfo=UTC)


async def test_resolve_takes_the_only_table_of_the_current_version(kaggle: KaggleEmulator) -> None:
    dataset = kaggle.catalogue.datasets[0]
    dataset.publish([EmulatedFile("new.csv", b"a,b\n1,2\n")])
    async with source_for(kaggle) as source:
        latest = await source.resolve(ANN, FileRequest("yasserh/titanic-dataset"))
        first = await source.resolve(ANN, FileRequest("yasserh/titanic-dataset", version=1))
    assert latest == ResolvedFile("yasserh/titanic-dataset", "Titanic Dataset", "new.csv", 2, 8, is_public=True)
    assert first == replace(
        latest, path="Titanic-Dataset.csv", version=1, size_bytes=len(dataset.versions[0][0].content)
    )


async def test_resolve_finds_a_file_beyond_the_first_page() -> None:
    files = [EmulatedFile(f"{number:04}.csv", b"a\n1\n") for number in range(450)]
    async with (
        KaggleEmulator(Catalogue([EmulatedDataset("ann/many", "Many", files)])) as kaggle,
        source_for(kaggle) as source,
    ):
        resolved = await source.resolve(ANN, FileRequest("ann/many", path="0449.csv"))
    assert resolved.path == "0449.csv"
    assert kaggle.count(RequestKind.LIST_FILES) == 3


async def test_resolve_without_path_lists_the_tables_to_choose_from(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        with pytest.raises(InvalidArgument) as caught:
            await source.resolve(ANN, FileRequest("rajyellow46/wine-quality"))
    assert caught.value.reason == Reason.INVALID_FIELD
    assert caught.value.violations[0].field == "kaggle.path"
    assert "holds 2 tables" in caught.value.message
    assert "'red/wines.csv', 'white/wines.csv'" in caught.value.message


async def test_resolve_of_a_data_set_without_tables_names_its_files(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        with pytest.raises(InvalidArgument) as caught:
            await source.resolve(ANN, FileRequest("ann/photos"))
    assert caught.value.reason == Reason.FILE_NOT_A_TABLE
    assert "'a.jpg'" in caught.value.message


async def test_resolve_of_a_missing_path_names_the_files_there_are(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        with pytest.raises(NotFound) as caught:
            await source.resolve(ANN, FileRequest("rajyellow46/wine-quality", path="rose/wines.csv"))
    assert caught.value.reason == Reason.SOURCE_NOT_FOUND
    assert "no file 'rose/wines.csv'; it has 'red/wines.csv', 'white/wines.csv'" in caught.value.message


async def test_a_missing_version_is_not_found(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        with pytest.raises(NotFound) as caught:
            await source.resolve(ANN, FileRequest("yasserh/titanic-dataset", version=9))
    assert caught.value.reason == Reason.SOURCE_NOT_FOUND
    assert "version 9 of data set 'yasserh/titanic-dataset'" in caught.value.message


@pytest.mark.parametrize("ref", ["titanic", "https://www.kaggle.com/datasets/a/b", "a/b/c", "../b", "a/", "a/b c", ""])
async def test_a_malformed_name_is_refused_without_asking_kaggle(kaggle: KaggleEmulator, ref: str) -> None:
    async with source_for(kaggle) as source:
        for call in (source.resolve(ANN, FileRequest(ref)), source.list_files(ANN, ref, 0, 10, "")):
            with pytest.raises(InvalidArgument, match="owner/slug"):
                await call
    assert kaggle.count() == 0


@pytest.mark.parametrize("credentials", [ApiKey("ann", "secret-key"), AccessToken("secret-token")])
async def test_a_private_data_set_is_there_for_its_owner(kaggle: KaggleEmulator, credentials: Credentials) -> None:
    async with source_for(kaggle, credentials) as source:
        resolved = await source.resolve(ANN, FileRequest("ann/private"))
    assert resolved.path == "secret.csv"


async def test_without_credentials_a_hidden_data_set_asks_for_them(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        with pytest.raises(FailedPrecondition) as caught:
            await source.resolve(ANN, FileRequest("ann/private"))
    assert caught.value.reason == Reason.SOURCE_CREDENTIALS_REJECTED
    for setting in ("USERNAME", "KEY", "TOKEN"):
        assert f"FLARE_SCRAPER_KAGGLE_{setting}" in caught.value.message


async def test_with_credentials_a_hidden_data_set_is_not_found(kaggle: KaggleEmulator) -> None:
    kaggle.accounts["bob"] = "bobs-key"
    async with source_for(kaggle, ApiKey("bob", "bobs-key")) as source:
        with pytest.raises(NotFound) as caught:
            await source.list_files(ANN, "ann/private", 0, 10, "")
    assert caught.value.reason == Reason.SOURCE_NOT_FOUND
    assert "'ann/private'" in caught.value.message
    assert "account 'bob'" in caught.value.message


@pytest.mark.parametrize("credentials", [ApiKey("ann", "wrong-key"), AccessToken("wrong-token")])
async def test_refused_credentials_name_the_settings_and_are_not_told(
    kaggle: KaggleEmulator, credentials: Credentials
) -> None:
    async with source_for(kaggle, credentials) as source:
        with pytest.raises(FailedPrecondition) as caught:
            await source.search(ANN, Search("titanic"), 5, "")
    assert caught.value.reason == Reason.SOURCE_CREDENTIALS_REJECTED
    assert "FLARE_SCRAPER_KAGGLE_TOKEN" in caught.value.message
    assert "wrong" not in str(caught.value.to_json())
    assert kaggle.count() == 1  # asking again would not help


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b'{"code": 401}', b"[]", b"17"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.SOURCE_CREDENTIALS_REJECTED),
        (404, Reason.SOURCE_NOT_FOUND),
        (429, Reason.SOURCE_RATE_LIMITED),
        (503, Reason.SOURCE_UNAVAILABLE),
    ],
)
async def test_the_status_counts_whatever_the_body_is(
    kaggle: KaggleEmulator, status: int, reason: Reason, body: bytes
) -> None:
    kaggle.inject(RequestKind.LIST_FILES, Fault(status, {"Retry-After": "77"}, body), times=3)
    async with source_for(kaggle) as source:
        with pytest.raises(FlareError) as caught:
            await source.list_files(ANN, "yasserh/titanic-dataset", 0, 10, "")
    assert caught.value.reason == reason
    assert caught.value.retry_after_seconds == (77 if status in (429, 503) else None)


async def test_a_listing_that_holds_an_error_is_one(kaggle: KaggleEmulator) -> None:
    body = b'{"datasetFiles": [], "errorMessage": "Dataset is being processed", "nextPageToken": ""}'
    kaggle.inject(RequestKind.LIST_FILES, Fault(200, body=body))
    async with source_for(kaggle) as source:
        with pytest.raises(NotFound, match="Dataset is being processed"):
            await source.list_files(ANN, "yasserh/titanic-dataset", 0, 10, "")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(503, body=b""),
        Fault.html(200),
        Fault.html(502),
        Fault(200, body=b'{"code": 500, "message": "oops"}'),
        Fault(200, body=b'{"datasets": [{"ref": 3, "lastUpdated": "yesterday"}]}'),
        Fault(cut_after=0),
        Fault(cut_after=20),
        Fault.rate_limited("0"),
        Fault.rate_limited(),
    ],
)
async def test_a_passing_fault_is_tried_again_and_a_lasting_one_reported(kaggle: KaggleEmulator, fault: Fault) -> None:
    async with source_for(kaggle) as source:
        kaggle.inject(RequestKind.LIST_DATASETS, fault, times=2)
        assert len((await source.search(ANN, Search("titanic"), 5, "")).datasets) == 1
        kaggle.inject(RequestKind.LIST_DATASETS, fault, times=3)
        with pytest.raises((Unavailable, ResourceExhausted)) as caught:
            await source.search(ANN, Search("titanic"), 5, "")
    assert caught.value.reason in (Reason.SOURCE_UNAVAILABLE, Reason.SOURCE_RATE_LIMITED)
    assert "titanic" in caught.value.message
    assert kaggle.count() == 6


@pytest.mark.parametrize("wait", ["120", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_a_long_wait_that_kaggle_asks_for_is_passed_on(kaggle: KaggleEmulator, wait: str) -> None:
    kaggle.inject(RequestKind.LIST_DATASETS, Fault.rate_limited(wait))
    async with source_for(kaggle) as source:
        with pytest.raises(ResourceExhausted) as caught:
            await source.search(ANN, Search("titanic"), 5, "")
    assert caught.value.reason == Reason.SOURCE_RATE_LIMITED
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds >= 120
    assert kaggle.count() == 1


async def test_a_silent_kaggle_is_given_up_in_time(kaggle: KaggleEmulator) -> None:
    kaggle.inject(RequestKind.LIST_DATASETS, Fault(stall_after=0), times=3)
    async with source_for(kaggle, read_timeout_seconds=0.2) as source:
        with pytest.raises(Unavailable, match="does not answer in time"):
            await source.search(ANN, Search("titanic"), 5, "")


async def test_an_unreachable_kaggle_is_told_with_what_to_check() -> None:
    emulator = KaggleEmulator(small_catalogue())
    await emulator.start()
    await emulator.stop()
    async with source_for(emulator) as source:
        with pytest.raises(Unavailable, match="FLARE_SCRAPER_KAGGLE_ENDPOINT") as caught:
            await source.search(ANN, Search("titanic"), 5, "")
    assert caught.value.reason == Reason.SOURCE_UNAVAILABLE


async def test_a_foreign_page_token_is_an_invalid_one(kaggle: KaggleEmulator) -> None:
    async with source_for(kaggle) as source:
        with pytest.raises(InvalidArgument) as caught:
            await source.search(ANN, Search("titanic"), 5, "nonsense")
    assert caught.value.reason == Reason.INVALID_PAGE_TOKEN
