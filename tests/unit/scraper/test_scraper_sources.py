"""The samples, and searching several sources as one."""

from pathlib import Path

import pytest

from scraper_server.limits import Limits
from scraper_server.sources.catalog import Sources
from scraper_server.sources.sample_tables import SAMPLES
from scraper_server.sources.samples import SamplesSource
from scraper_server.sources.search import FileType, LicenseFamily, Search, SearchSort
from scraper_server.sources.source import (
    FilePage,
    FileRequest,
    Progress,
    ResolvedFile,
    SearchPage,
    SourceDataset,
    SourceKind,
)
from scraper_server.tables.conversion import ConvertedTable, convert
from scraper_server.tables.formats import FileFormat
from servicekit.errors import NotFound, Reason, Unavailable

ANN = "accounts/ann"


async def imported(ref: str, directory: Path) -> ConvertedTable:
    source = SamplesSource()
    steps: list[tuple[int, int]] = []
    file = await source.resolve(ANN, FileRequest(ref))

    async def progress(done_bytes: int, total_bytes: int) -> None:
        steps.append((done_bytes, total_bytes))

    path = await source.download(ANN, file, directory, progress)
    assert steps[-1] == (path.stat().st_size, path.stat().st_size)
    (directory / "out").mkdir()
    return convert(path, file.path, FileFormat(), Limits(), directory / "out", lambda *_: None)


@pytest.mark.parametrize(
    ("ref", "rows", "columns", "target", "kind", "labels"),
    [
        ("breast-cancer", 569, 31, "diagnosis", "categorical", {"malignant": 212, "benign": 357}),
        ("diabetes", 442, 11, "progression", "float", {}),
        ("digits", 1797, 65, "digit", "categorical", {"0": 178, "8": 174}),
        ("iris", 150, 5, "species", "categorical", {"setosa": 50, "versicolor": 50, "virginica": 50}),
        ("wine", 178, 14, "cultivar", "categorical", {"class_0": 59, "class_1": 71, "class_2": 48}),
    ],
)
async def test_samples_are_what_was_measured(
    tmp_path: Path, ref: str, rows: int, columns: int, target: str, kind: str, labels: dict[str, int]
) -> None:
    table = await imported(ref, tmp_path)
    assert (table.row_count, len(table.columns)) == (rows, columns)
    last = table.columns[-1]
    assert (last.name, last.type.value) == (target, kind)
    assert last.statistics is not None
    assert labels.items() <= {each.value: each.count for each in last.statistics.most_frequent}.items()


async def test_the_pixels_of_digits_are_whole_numbers_in_their_place(tmp_path: Path) -> None:
    table = await imported("digits", tmp_path)
    assert [column.name for column in table.columns[:64]] == [f"pixel_{y}_{x}" for y in range(8) for x in range(8)]
    assert {column.type.value for column in table.columns[:64]} == {"integer"}


async def test_samples_are_found_by_all_words_and_page_by_page() -> None:
    source = SamplesSource()
    assert [each.ref for each in (await source.search(ANN, Search("CLASSIFICATION medicine"), 20, "")).datasets] == [
        "breast-cancer"
    ]
    found: list[str] = []
    cursor = ""
    while True:
        page = await source.search(ANN, Search(), 2, cursor)
        found += [each.ref for each in page.datasets]
        cursor = page.next_cursor
        if not cursor:
            break
    assert found == [sample.ref for sample in SAMPLES]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(file_type=FileType.PARQUET), {"breast-cancer", "diabetes", "digits", "iris", "wine"}),
        (Search(file_type=FileType.CSV), set[str]()),
        (Search(license=LicenseFamily.OTHER), {"diabetes"}),
        (Search(license=LicenseFamily.CREATIVE_COMMONS, tags=("Medicine",)), {"breast-cancer"}),
        (Search(tags=("medicine", "table")), {"breast-cancer", "diabetes"}),
        (Search(tags=("medicine", "image")), set[str]()),
        (Search(tags=("med",)), set[str]()),
        (Search(max_size_bytes=10_000_000, words="iris", sort=SearchSort.VOTES), {"iris"}),
        (Search(min_size_bytes=1), set[str]()),
        (Search(publisher="uciml"), set[str]()),
    ],
)
async def test_samples_are_left_out_by_what_they_can_not_be(search: Search, found: set[str]) -> None:
    page = await SamplesSource().search(ANN, search, 20, "")
    assert {each.ref for each in page.datasets} == found


async def test_an_unknown_sample_or_file_is_not_found() -> None:
    source = SamplesSource()
    for request in (FileRequest("titanic"), FileRequest("iris", path="other.csv"), FileRequest("iris", version=2)):
        with pytest.raises(NotFound) as caught:
            await source.resolve(ANN, request)
        assert caught.value.reason is Reason.SOURCE_NOT_FOUND


class Shelf:
    """A place with some data sets, which may be out of reach."""

    kind = SourceKind.KAGGLE

    def __init__(self, refs: list[str], reachable: bool = True, open_to: str = ANN) -> None:
        self._refs = refs
        self._reachable = reachable
        self._open_to = open_to

    async def is_open_to(self, owner: str) -> bool:
        return owner == self._open_to

    async def search(self, owner: str, search: Search, limit: int, cursor: str) -> SearchPage:
        if not self._reachable:
            raise Unavailable(Reason.SOURCE_UNAVAILABLE, "closed")
        start = int(cursor or 0)
        found = tuple(SourceDataset(self.kind, ref, ref) for ref in self._refs[start : start + limit])
        return SearchPage(found, str(start + limit) if start + limit < len(self._refs) else "")

    async def list_files(self, owner: str, ref: str, version: int, limit: int, cursor: str) -> FilePage:
        return FilePage(())

    async def resolve(self, owner: str, request: FileRequest) -> ResolvedFile:
        return ResolvedFile(request.ref, request.ref, request.path, 1, 0)

    async def download(self, owner: str, file: ResolvedFile, directory: Path, progress: Progress) -> Path:
        return directory / file.path


def both(shelf: Shelf) -> Sources:
    return Sources({SourceKind.SAMPLES: SamplesSource(), SourceKind.KAGGLE: shelf})


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100])
async def test_a_search_of_all_sources_gives_each_result_once(limit: int) -> None:
    sources = both(Shelf(["k/1", "k/2", "k/3"]))
    found: list[str] = []
    cursor = ""
    while True:
        page = await sources.search(ANN, None, Search(), limit, cursor)
        assert len(page.datasets) <= limit
        found += [each.ref for each in page.datasets]
        cursor = page.next_cursor
        if not cursor:
            break
    assert found == [*(sample.ref for sample in SAMPLES), "k/1", "k/2", "k/3"]


async def test_a_source_out_of_reach_hides_nothing_of_the_others() -> None:
    sources = both(Shelf([], reachable=False))
    page = await sources.search(ANN, None, Search(), 20, "")
    assert [each.ref for each in page.datasets] == [sample.ref for sample in SAMPLES]
    with pytest.raises(Unavailable):
        await sources.search(ANN, None, Search(), 20, page.next_cursor)


async def test_a_search_of_all_sources_leaves_out_those_that_are_not_open_to_the_person() -> None:
    sources = both(Shelf(["k/1"], open_to="accounts/bob"))
    page = await sources.search(ANN, None, Search(), 5, "")
    assert (len(page.datasets), page.next_cursor) == (5, "")
    page = await sources.search("accounts/bob", None, Search(), 5, "")
    last = await sources.search("accounts/bob", None, Search(), 5, page.next_cursor)
    assert [each.ref for each in last.datasets] == ["k/1"]


async def test_a_source_that_the_server_lacks_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        await Sources({}).search(ANN, SourceKind.KAGGLE, Search(), 20, "")
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
