"""Counts the rows that versions predict for, off the way of those who ask, and tells how far they have drifted."""

import asyncio
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from ml_server.engines.engine import Features, Outputs
from ml_server.monitoring.drift import ColumnDrift, Counts, VersionDrift, column_drift
from ml_server.monitoring.measures import Measure, input_measures, output_measures
from ml_server.monitoring.reference import ColumnReference, NoReference, Reference, read_reference
from ml_server.prediction.observers import Answered
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import REFERENCE_FILE, Preprocessing, read_preprocessing
from ml_server.registry.values import ModelVersion
from servicekit.artifacts import ArtifactStore

log = structlog.get_logger()

# Rows are counted together that come within so long.
COUNT_SECONDS = 0.5
# What waits to be counted beyond this is dropped. A request weighs this much beside its numbers.
MAX_WAITING_BYTES = 32 << 20
REQUEST_BYTES = 512
# Of a request with more rows, evenly spaced ones are counted.
MAX_REQUEST_ROWS = 4_096
# Past so many versions the one that was used the longest time ago is forgotten.
MAX_VERSIONS = 1_000

Key = tuple[str, int]


@dataclass
class _Waiting:
    """Rows of one version that are not counted yet."""

    version: ModelVersion
    served: ServedVersion
    features: list[Features]
    outputs: list[Outputs]


@dataclass
class _Watched:
    """What was counted of a version; without a reference, rows only."""

    version: ModelVersion
    served: "weakref.ref[ServedVersion] | None"
    inputs: list[Measure]
    outputs: list[Measure]
    since: datetime
    reference: Reference | None = None
    problem: str = ""
    rows: int = 0
    dropped: int = 0
    input_counts: tuple[Counts, ...] = ()
    output_counts: tuple[Counts, ...] = ()

    def clear(self, since: datetime) -> None:
        """Counts anew."""
        self.since, self.rows, self.dropped = since, 0, 0
        if self.reference is not None:
            self.input_counts = _zeros(self.reference.inputs)
            self.output_counts = _zeros(self.reference.outputs)

    def add(self, features: Features, outputs: Outputs) -> None:
        """Counts rows."""
        self.rows += len(features)
        if self.reference is not None:
            _add(self.input_counts, self.inputs, self.reference.inputs, features)
            _add(self.output_counts, self.outputs, self.reference.outputs, outputs)

    def drift(self) -> VersionDrift:
        """How far what was counted has drifted."""
        drift = VersionDrift(self.since, self.rows, self.dropped, self.reference, self.problem)
        if self.reference is None or not self.rows:
            return drift
        inputs = _drifts(self.inputs, self.reference.inputs, self.input_counts)
        outputs = _drifts(self.outputs, self.reference.outputs, self.output_counts)
        return VersionDrift(
            self.since, self.rows, self.dropped, self.reference, self.problem, tuple(inputs), tuple(outputs)
        )


class DriftWatch:
    """What all versions were asked since this started, or since somebody had it count anew."""

    def __init__(
        self,
        artifacts: ArtifactStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        max_versions: int = MAX_VERSIONS,
    ) -> None:
        self._artifacts = artifacts
        self._clock = clock
        self._started = clock()
        self._max_waiting_bytes = max_waiting_bytes
        self._max_versions = max_versions
        self._waiting: dict[Key, _Waiting] = {}
        self._waiting_bytes = 0
        self._dropped: Counter[Key] = Counter()
        self._arrived = asyncio.Event()
        self._counting = asyncio.Lock()
        # Counted on a thread, and read by metrics on another one.
        self._lock = threading.Lock()
        self._watched: OrderedDict[Key, _Watched] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def answered(self, answered: Answered) -> None:
        """As Observer says: keeps the rows until they are counted."""
        version, features, outputs = answered.asked.version, answered.features, answered.outputs
        key = (version.model.uid, version.number)
        if len(features) > MAX_REQUEST_ROWS:
            step = -(-len(features) // MAX_REQUEST_ROWS)
            features, outputs = features[::step].copy(), outputs[::step].copy()
        size = features.nbytes + outputs.nbytes + REQUEST_BYTES
        if self._waiting_bytes + size > self._max_waiting_bytes:
            self._dropped[key] += len(features)
            return
        self._waiting_bytes += size
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(version, answered.asked.served, [], [])
            self._arrived.set()
        waiting.features.append(features)
        waiting.outputs.append(outputs)

    async def start(self) -> None:
        """Starts to count."""
        self._task = asyncio.create_task(self._count_on())

    async def drain(self) -> None:
        """Stops to count."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def drift(self, version: ModelVersion, *, reset: bool = False) -> VersionDrift:
        """How far the rows of a version have drifted that were answered until now; with `reset` it counts anew after.

        Raises:
            NotFound: The version's files are gone.
        """
        await self._count()
        directory = await self._artifacts.fetch(version.artifact)
        return await asyncio.to_thread(self._told, version, directory, reset)

    def served(self) -> Iterator[tuple[ModelVersion, VersionDrift]]:
        """The drift of all versions that are in memory, and were used since this started."""
        with self._lock:
            watched = [each for each in self._watched.values() if each.served is not None and each.served() is not None]
            drifts = [(each.version, each.drift()) for each in watched]
        yield from drifts

    async def _count_on(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(COUNT_SECONDS)
            try:
                await self._count()
            except Exception:
                log.exception("drift_not_counted")

    async def _count(self) -> None:
        """Counts what waits."""
        async with self._counting:
            self._arrived.clear()
            waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
            dropped, self._dropped = self._dropped, Counter()
            if waiting or dropped:
                await asyncio.to_thread(self._add, waiting, dropped)

    def _add(self, waiting: dict[Key, _Waiting], dropped: Counter[Key]) -> None:
        while waiting:  # what is counted is let go of, so that a version can leave memory
            _, rows = waiting.popitem()
            served = rows.served
            preprocessing = Preprocessing(features=served.features, targets=served.targets)
            with self._lock:
                watched = self._of(rows.version, served.directory, preprocessing)
                if watched.served is None or watched.served() is not served:
                    watched.served = weakref.ref(served)
                watched.add(np.concatenate(rows.features), np.concatenate(rows.outputs))
        with self._lock:
            for key, count in dropped.items():
                if key in self._watched:
                    self._watched[key].dropped += count

    def _told(self, version: ModelVersion, directory: Path, reset: bool) -> VersionDrift:
        with self._lock:
            watched = self._of(version, directory, None)
            drift = watched.drift()
            if reset:
                watched.clear(self._clock())
            return drift

    def _of(self, version: ModelVersion, directory: Path, preprocessing: Preprocessing | None) -> _Watched:
        key = (version.model.uid, version.number)
        watched = self._watched.get(key)
        if watched is None:
            known = preprocessing or read_preprocessing(directory)
            inputs, outputs = input_measures(known.features), output_measures(known.targets)
            watched = self._watched[key] = _Watched(version, None, inputs, outputs, self._started)
            try:
                watched.reference = read_reference(directory / REFERENCE_FILE, inputs, outputs)
            except NoReference as error:
                watched.problem = str(error)
            watched.clear(self._started)
            if len(self._watched) > self._max_versions:
                self._watched.popitem(last=False)
                self._started = self._clock()  # what comes back was forgotten until now at the latest
        self._watched.move_to_end(key)
        return watched


def _zeros(references: Iterable[ColumnReference]) -> tuple[Counts, ...]:
    return tuple(np.zeros(len(reference.bins.counts), np.int64) for reference in references)


def _add(
    counts: Iterable[Counts],
    measures: Iterable[Measure],
    references: Iterable[ColumnReference],
    rows: NDArray[np.float32],
) -> None:
    for count, measure, reference in zip(counts, measures, references, strict=True):
        count += reference.bins.count(measure.of(rows))


def _drifts(
    measures: Iterable[Measure], references: Iterable[ColumnReference], counts: Iterable[Counts]
) -> Iterator[ColumnDrift]:
    for measure, reference, count in zip(measures, references, counts, strict=True):
        yield column_drift(measure, reference, count)
