"""What versions did: sums of each, and a bound on how many are remembered."""

from datetime import UTC, datetime

import pytest

from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.prediction import statistics as statistics_module
from ml_server.prediction.statistics import Statistics, Timings
from ml_server.registry.values import Model, ModelVersion, VersionDetails

NOW = datetime(2024, 5, 17, tzinfo=UTC)


def version(number: int, owner: str = "accounts/ann") -> ModelVersion:
    specification = ModelSpecification(architecture=MlpSpecification())
    model = Model(f"uid of {owner}", owner, "iris", "", specification, NOW, NOW)
    return ModelVersion(model, number, VersionDetails(parameter_count=1, digest="d"), 1, NOW, "versions/a/b")


def test_requests_rows_and_time_add_up_for_each_version() -> None:
    statistics = Statistics(clock=lambda: 12.5)
    statistics.succeeded(version(1), 3, 100, Timings(5, 10, 20, 30))
    statistics.succeeded(version(1), 4, 200, Timings(1, 1, 2, 3))
    statistics.failed(version(1), 50)
    statistics.failed(version(2), 7)
    sums = statistics.find(version(1))
    assert (sums.rows, sums.last_milliseconds) == (7, 12_500)
    assert (sums.requests, sums.total) == (2, 300)
    assert (sums.failures, sums.failed) == (1, 50)
    assert (sums.waiting, sums.input, sums.network, sums.output) == (6, 11, 22, 33)
    assert (statistics.find(version(2)).rows, statistics.find(version(2)).failures) == (0, 1)
    assert statistics.find(version(3)).requests == 0


def test_requests_that_were_answered_together_count_each() -> None:
    statistics = Statistics()
    statistics.succeeded(version(1), 6, 100, Timings(0, 10, 20, 30), requests=3)
    sums = statistics.find(version(1))
    assert (sums.rows, sums.requests, sums.total, sums.network) == (6, 3, 300, 60)


def test_owners_see_their_own_versions() -> None:
    statistics = Statistics()
    for owner in ("accounts/ann", "accounts/bob"):
        statistics.succeeded(version(1, owner), 1, 1, Timings(0, 0, 0, 0))
    assert [each.version.model.owner for each in statistics.of_owner("accounts/bob")] == ["accounts/bob"]


def test_what_was_not_used_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_module, "MAX_VERSIONS", 2)
    statistics = Statistics()
    for number in (1, 2, 1, 3):
        statistics.succeeded(version(number), 1, 1, Timings(0, 0, 0, 0))
    assert sorted(each.version.number for each in statistics.of_owner("accounts/ann")) == [1, 3]
    assert statistics.find(version(1)).rows == 2
