"""Searching and listing with filters, through a running server and the real `kaggle` package."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2

from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, KaggleEmulator
from tests.server.scraper.kaggle_server import KAGGLE, operator, serving
from tests.server.scraper.scraper_calls import Caller

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

SAMPLES = source_pb2.SOURCE_KIND_SAMPLES


def dataset(name: str, size: int, *endings: str, **more: Any) -> EmulatedDataset:
    """A data set of some bytes, in as many files as there are endings."""
    files = [EmulatedFile(f"data{ending}", b"x" * (size // len(endings))) for ending in endings]
    return EmulatedDataset(name, name.split("/")[1], files, **more)


def catalogue() -> Catalogue:
    """Data sets that differ in all that a search can ask for."""
    updated = dataset("bob/stars", 500, ".parquet", license="GNU General Public License", tags=["space"], votes=2)
    updated.publish(updated.files)
    return Catalogue(
        [
            dataset("ann/trees", 100, ".csv", ".json", tags=["biology", "climate"], votes=7, downloads=1),
            dataset("ann/birds", 200, ".csv", license="Open Database License", tags=["biology"], downloads=9),
            dataset("carl/rivers", 300, ".sqlite", license="MIT", tags=["climate"], votes=1),
            updated,
        ]
    )


@pytest.fixture
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    async with KaggleEmulator(catalogue(), keys={"operator": "operators-key"}) as emulator:
        yield emulator


@pytest.fixture
async def ann(kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path) -> AsyncIterator[Caller]:
    async with serving(kaggle, token_issuer, tmp_path, **operator("operator", "operators-key")) as server:
        yield server.caller()


def a_filter(**kept: Any) -> source_pb2.SearchFilter:
    """A filter."""
    return source_pb2.SearchFilter(**kept)


async def refs(person: Caller, **request: Any) -> list[str]:
    """What is found, in its order."""
    page = await person.call("SearchDatasets", pb.SearchDatasetsRequest(**{"source": KAGGLE} | request))
    assert page.next_page_token == ""
    return [each.ref for each in page.datasets]


TREES, BIRDS, RIVERS, STARS = "ann/trees", "ann/birds", "carl/rivers", "bob/stars"


async def test_a_search_leaves_out_what_its_filter_says(ann: Caller) -> None:
    for kept, found in (
        (a_filter(), [TREES, BIRDS, RIVERS, STARS]),
        (a_filter(file_type=source_pb2.SOURCE_FILE_TYPE_CSV), [TREES, BIRDS]),
        (a_filter(file_type=source_pb2.SOURCE_FILE_TYPE_JSON), [TREES]),
        (a_filter(file_type=source_pb2.SOURCE_FILE_TYPE_SQLITE), [RIVERS]),
        (a_filter(file_type=source_pb2.SOURCE_FILE_TYPE_PARQUET), [STARS]),
        (a_filter(file_type=source_pb2.SOURCE_FILE_TYPE_BIGQUERY), []),
        (a_filter(min_size_bytes=200), [BIRDS, RIVERS, STARS]),
        (a_filter(max_size_bytes=200), [TREES, BIRDS]),
        (a_filter(min_size_bytes=200, max_size_bytes=200), [BIRDS]),
        (a_filter(license=source_pb2.SOURCE_LICENSE_CREATIVE_COMMONS), [TREES]),
        (a_filter(license=source_pb2.SOURCE_LICENSE_GPL), [STARS]),
        (a_filter(license=source_pb2.SOURCE_LICENSE_OPEN_DATABASE), [BIRDS]),
        (a_filter(license=source_pb2.SOURCE_LICENSE_OTHER), [RIVERS]),
        (a_filter(tags=["biology"]), [TREES, BIRDS]),
        (a_filter(tags=["biology", "climate"]), [TREES]),
        (a_filter(owner="ann"), [TREES, BIRDS]),
        (a_filter(owner="nobody"), []),
        (a_filter(owner="ann", tags=["climate"], max_size_bytes=1000), [TREES]),
    ):
        assert await refs(ann, filter=kept) == found, kept
    assert await refs(ann, query="stars", filter=a_filter(license=source_pb2.SOURCE_LICENSE_GPL)) == [STARS]
    assert await refs(ann, query="stars", filter=a_filter(owner="ann")) == []


async def test_a_search_shows_first_what_its_sort_says(ann: Caller) -> None:
    for sort, found in (
        (source_pb2.SEARCH_SORT_HOTTEST, [TREES, BIRDS, RIVERS, STARS]),
        (source_pb2.SEARCH_SORT_VOTES, [TREES, STARS, RIVERS, BIRDS]),
        (source_pb2.SEARCH_SORT_UPDATED, [STARS, TREES, BIRDS, RIVERS]),
        (source_pb2.SEARCH_SORT_ACTIVE, [BIRDS, TREES, RIVERS, STARS]),
        (source_pb2.SEARCH_SORT_PUBLISHED, [STARS, RIVERS, BIRDS, TREES]),
    ):
        assert await refs(ann, sort=sort) == found


async def test_pages_of_a_filtered_search_hold_each_result_once_and_their_tokens_serve_no_other(ann: Caller) -> None:
    asked: dict[str, Any] = {
        "source": KAGGLE,
        "page_size": 1,
        "filter": a_filter(min_size_bytes=150),
        "sort": source_pb2.SEARCH_SORT_VOTES,
    }
    found, tokens = [], [""]
    while len(tokens) == 1 or tokens[-1]:
        page = await ann.call("SearchDatasets", pb.SearchDatasetsRequest(**asked, page_token=tokens[-1]))
        found += [each.ref for each in page.datasets]
        tokens.append(page.next_page_token)
    assert found == [STARS, RIVERS, BIRDS]

    others: list[dict[str, Any]] = [
        {"query": "s"},
        {"source": source_pb2.SOURCE_KIND_UNSPECIFIED},
        {"filter": a_filter(min_size_bytes=151)},
        {"filter": a_filter(min_size_bytes=150, tags=["space"])},
        {"filter": a_filter(min_size_bytes=150, owner="ann")},
        {"filter": a_filter(min_size_bytes=150, file_type=source_pb2.SOURCE_FILE_TYPE_CSV)},
        {"filter": a_filter(min_size_bytes=150, license=source_pb2.SOURCE_LICENSE_GPL)},
        {"filter": a_filter(min_size_bytes=150, max_size_bytes=900)},
        {"sort": source_pb2.SEARCH_SORT_UPDATED},
    ]
    for other in others:
        refusal = await ann.refused("SearchDatasets", pb.SearchDatasetsRequest(**asked | other, page_token=tokens[1]))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"), other
    smaller = pb.SearchDatasetsRequest(**asked | {"page_size": 2}, page_token=tokens[1])  # a page may have another size
    assert [each.ref for each in (await ann.call("SearchDatasets", smaller)).datasets] == [RIVERS, BIRDS]


async def test_a_filter_holds_for_each_source_of_a_search_of_all(ann: Caller) -> None:
    request: dict[str, Any] = {"source": source_pb2.SOURCE_KIND_UNSPECIFIED}
    assert await refs(ann, **request, filter=a_filter(file_type=source_pb2.SOURCE_FILE_TYPE_CSV)) == [TREES, BIRDS]
    assert await refs(ann, **request, filter=a_filter(tags=["biology"])) == ["iris", TREES, BIRDS]
    assert await refs(ann, source=SAMPLES, filter=a_filter(owner="ann")) == []


async def test_what_kaggle_would_refuse_is_refused_by_its_field_before_it_is_asked(
    ann: Caller, kaggle: KaggleEmulator
) -> None:
    for kept, field in (
        (a_filter(min_size_bytes=-1), "filter.min_size_bytes"),
        (a_filter(max_size_bytes=-1), "filter.max_size_bytes"),
        (a_filter(min_size_bytes=2, max_size_bytes=1), "filter"),
        (a_filter(tags=["a", "b,c"]), "filter.tags[1]"),
        (a_filter(tags=[""]), "filter.tags[0]"),
        (a_filter(owner="a/b"), "filter.owner"),
        (a_filter(file_type=99), "filter.file_type"),
        (a_filter(license=99), "filter.license"),
    ):
        refusal = await ann.refused("SearchDatasets", pb.SearchDatasetsRequest(source=KAGGLE, filter=kept))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert field in refusal.fields
    unknown: Any = 99
    refusal = await ann.refused("SearchDatasets", pb.SearchDatasetsRequest(source=KAGGLE, sort=unknown))
    assert refusal.fields == ("sort",)
    refusal = await ann.refused("ListDatasetFiles", pb.ListDatasetFilesRequest(source=KAGGLE, ref="no slash"))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("ref",))
    assert kaggle.count() == 0


async def test_licence_size_version_and_tags_are_shown_before_an_import(ann: Caller) -> None:
    page = await ann.call("SearchDatasets", pb.SearchDatasetsRequest(source=KAGGLE, query="stars"))
    [stars] = page.datasets
    assert (stars.license, stars.size_bytes, stars.version) == ("GNU General Public License", 500, 2)
    assert (list(stars.tags), stars.is_private) == (["space"], False)


async def test_the_files_of_each_version_are_listed_with_their_sizes(ann: Caller, kaggle: KaggleEmulator) -> None:
    kaggle.catalogue.datasets[0].publish([EmulatedFile("new.csv", b"a,b\n")])

    async def files(version: int) -> dict[str, int]:
        request = pb.ListDatasetFilesRequest(source=KAGGLE, ref=TREES, version=version)
        return {file.path: file.size_bytes for file in (await ann.call("ListDatasetFiles", request)).files}

    assert await files(1) == {"data.csv": 50, "data.json": 50}
    assert await files(2) == await files(0) == {"new.csv": 4}
    missing = await ann.refused("ListDatasetFiles", pb.ListDatasetFilesRequest(source=KAGGLE, ref=TREES, version=3))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")
    assert "version 3 of data set 'ann/trees'" in missing.text


async def test_a_page_of_files_serves_no_other_version(ann: Caller) -> None:
    request = pb.ListDatasetFilesRequest(source=KAGGLE, ref=TREES, version=1, page_size=1)
    page = await ann.call("ListDatasetFiles", request)
    request.page_token = page.next_page_token
    assert [file.path for file in (await ann.call("ListDatasetFiles", request)).files] == ["data.json"]
    request.version = 0
    assert (await ann.refused("ListDatasetFiles", request)).reason == "INVALID_PAGE_TOKEN"
