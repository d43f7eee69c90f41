"""How fast an import is, and how long it will take."""

import pytest

from scraper_server.datasets.ids import stem_of, with_suffix
from scraper_server.datasets.values import SourceOrigin
from scraper_server.imports.meter import WINDOW_SECONDS, Meter
from scraper_server.imports.spec import ImportPhase, ImportProgress, ImportResult, ImportSpec
from scraper_server.sources.source import SourceKind
from scraper_server.tables.formats import FileFormat, FormatKind


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rate_and_time_left_are_those_of_the_last_seconds(clock: Clock) -> None:
    meter = Meter(clock)
    for second in range(11):
        clock.now = 100.0 + second
        # 100 bytes a second at first, then 10.
        done = 100 * min(second, 3) + 10 * max(second - 3, 0)
        meter.update(ImportPhase.DOWNLOADING, done, 1000)
    assert WINDOW_SECONDS == 5
    assert meter.progress == ImportProgress(ImportPhase.DOWNLOADING, 370, 1000, 10.0, 63.0)


def test_a_phase_starts_its_own_rate(clock: Clock) -> None:
    meter = Meter(clock)
    meter.update(ImportPhase.DOWNLOADING, 0, 100)
    clock.now += 1
    meter.update(ImportPhase.DOWNLOADING, 100, 100)
    meter.update(ImportPhase.CONVERTING, 0, 500)
    assert meter.progress == ImportProgress(ImportPhase.CONVERTING, 0, 500, 0.0, None)


def test_the_time_left_is_unknown_where_the_size_is(clock: Clock) -> None:
    meter = Meter(clock)
    meter.update(ImportPhase.DOWNLOADING, 0)
    clock.now += 1
    meter.update(ImportPhase.DOWNLOADING, 50)
    assert meter.progress == ImportProgress(ImportPhase.DOWNLOADING, 50, 0, 50.0, None)


def test_news_tell_how_each_phase_ended_and_nothing_twice(clock: Clock) -> None:
    meter = Meter(clock)
    assert [news.phase for news in meter.news()] == [ImportPhase.RESOLVING]
    assert meter.news() == []
    meter.update(ImportPhase.DOWNLOADING, 10, 10)
    meter.update(ImportPhase.CONVERTING, 5, 20)
    meter.update(ImportPhase.CONVERTING, 20, 20)
    assert [(news.phase, news.done_bytes) for news in meter.news()] == [
        (ImportPhase.DOWNLOADING, 10),
        (ImportPhase.CONVERTING, 20),
    ]
    assert meter.news() == []


def test_what_a_job_keeps_is_read_back_as_it_was() -> None:
    origin = SourceOrigin(SourceKind.KAGGLE, "ann/wine", 3, "white.csv")
    spec = ImportSpec(origin, "wine", "Wine", FileFormat(FormatKind.DELIMITED, ";", "utf-8"))
    assert ImportSpec.from_json(spec.to_json()) == spec
    assert spec.to_json()["dataset_id"] == "wine"
    progress = ImportProgress(ImportPhase.PROFILING, 1, 2, 0.5, None)
    assert ImportProgress.from_json(progress.to_json()) == progress
    result = ImportResult("wine", 10, 3)
    assert ImportResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Titanic: Machine Learning", "titanic-machine-learning"),
        ("Größe  &  Café", "groe-cafe"),
        ("2024_sales.v2", "2024-sales-v2"),
        ("数据", "dataset"),
        ("x" * 80, "x" * 50),
    ],
)
def test_names_become_ids(name: str, stem: str) -> None:
    assert stem_of(name, "dataset") == stem
    assert with_suffix(stem).startswith(f"{stem}-")
    assert len(with_suffix(stem)) <= 63
