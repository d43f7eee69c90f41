"""What versions did since the server started: how many predictions, and where their time went."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

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
class Duration:
    """How often something happened, and nanoseconds of all times together."""

    count: int = 0
    nanoseconds: int = 0

    def add(self, nanoseconds: int, times: int = 1) -> None:
        """Counts one more, or several that each took as long."""
        self.count += times
        self.nanoseconds += nanoseconds * times


@dataclass
class VersionStatistics:
    """Sums of one version: `rows` are predictions, durations are those of requests. Milliseconds are since 1970."""

    version: ModelVersion
    rows: int = 0
    last_milliseconds: int = 0
    success: Duration = field(default_factory=Duration)
    failure: Duration = field(default_factory=Duration)
    waiting: Duration = field(default_factory=Duration)
    input: Duration = field(default_factory=Duration)
    network: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)


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
        sums.rows += rows
        sums.last_milliseconds = int(self._clock() * 1000)
        sums.success.add(nanoseconds, requests)
        sums.waiting.add(timings.waiting, requests)
        sums.input.add(timings.input, requests)
        sums.network.add(timings.network, requests)
        sums.output.add(timings.output, requests)

    def failed(self, version: ModelVersion, nanoseconds: int) -> None:
        """Counts a request that was not."""
        self._of(version).failure.add(nanoseconds)

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
