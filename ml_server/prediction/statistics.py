"""What versions did since the server started: how many predictions, and where their time went."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ml_server.registry.values import ModelVersion

# Past so many versions the one that was used the longest time ago is forgotten.
MAX_VERSIONS = 10_000


@dataclass(slots=True)  # not frozen: each call makes one
class Timings:
    """Where the time of one execution went, in nanoseconds: to the features, through the network, to the answers.

    `waiting` is what passed between the features and the network.
    """

    waiting: int
    input: int
    network: int
    output: int


@dataclass
class VersionStatistics:
    """Sums of one version: `rows` are predictions, times are nanoseconds of all requests that were answered."""

    version: ModelVersion
    rows: int = 0
    requests: int = 0
    total: int = 0
    waiting: int = 0
    input: int = 0
    network: int = 0
    output: int = 0
    failures: int = 0
    failed: int = 0
    """Nanoseconds of those that were not."""
    last_milliseconds: int = 0
    """Since 1970."""


class Statistics:
    """The sums of every version that was used."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._versions: OrderedDict[tuple[str, int], VersionStatistics] = OrderedDict()

    def succeeded(
        self, version: ModelVersion, rows: int, nanoseconds: int, timings: Timings, requests: int = 1
    ) -> None:
        """Counts requests that were answered together, `nanoseconds` after they came, with all their rows."""
        sums = self._of(version)
        sums.last_milliseconds = int(self._clock() * 1000)
        sums.rows += rows
        sums.requests += requests
        sums.total += nanoseconds * requests
        sums.waiting += timings.waiting * requests
        sums.input += timings.input * requests
        sums.network += timings.network * requests
        sums.output += timings.output * requests

    def failed(self, version: ModelVersion, nanoseconds: int) -> None:
        """Counts a request that was not."""
        sums = self._of(version)
        sums.failures += 1
        sums.failed += nanoseconds

    def find(self, version: ModelVersion) -> VersionStatistics:
        """The sums of a version; zeros if it was not used."""
        return self._versions.get(_key(version)) or VersionStatistics(version)

    def of_owner(self, owner: str) -> list[VersionStatistics]:
        """The sums of all versions of an owner that were used."""
        return [sums for sums in self._versions.values() if sums.version.model.owner == owner]

    def _of(self, version: ModelVersion) -> VersionStatistics:
        key = _key(version)
        sums = self._versions.get(key)
        if sums is None:
            sums = self._versions[key] = VersionStatistics(version)
            if len(self._versions) > MAX_VERSIONS:
                self._versions.popitem(last=False)
        self._versions.move_to_end(key)
        return sums


def _key(version: ModelVersion) -> tuple[str, int]:
    return version.model.uid, version.number
