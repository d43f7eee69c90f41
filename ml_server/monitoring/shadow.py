"""Shadows: versions that are asked the same as those that answer, after the caller has the answer."""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from ml_server.monitoring.comparison import Difference, Incomparable, differences
from ml_server.prediction.answers import answers_of
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.observers import Answered
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.values import Model, VersionReference
from servicekit.errors import FlareError
from servicekit.images.decoding import ImageDecoder

log = structlog.get_logger()

# What waits beyond either of them is dropped, and counted: a slow shadow must not fill the memory.
MAX_WAITING = 1_000
MAX_WAITING_BYTES = 64 << 20
# Past so many aliases the one that was used the longest time ago is forgotten.
MAX_ALIASES = 1_000


@dataclass(frozen=True)
class TargetSums:
    """Differences of all rows of one target, see Difference."""

    rows: int = 0
    agreeing: int | None = None
    difference: float = 0.0

    def plus(self, more: Difference) -> "TargetSums":
        """With the rows of one more request."""
        agreeing = None if more.agreeing is None else more.agreeing + (self.agreeing or 0)
        return TargetSums(self.rows + more.rows, agreeing, self.difference + more.difference)


@dataclass(frozen=True)
class ShadowRecord:
    """What came of asking an alias's shadow since a point in time. Nanoseconds are those of the requests compared.

    `waiting` requests are not asked yet; `dropped` ones never are, since too many waited.
    """

    owner: str
    model: str
    alias: str
    shadow: int
    since: datetime
    requests: int = 0
    rows: int = 0
    failures: int = 0
    last_failure: str = ""
    waiting: int = 0
    dropped: int = 0
    nanoseconds: int = 0
    shadow_nanoseconds: int = 0
    targets: dict[str, TargetSums] = field(default_factory=dict)


Key = tuple[str, str, int]
"""A model's uid, an alias and its shadow: another shadow counts for itself."""


class Shadows:
    """Asks shadows one request at a time, on a thread of their own, and keeps what came of it for each alias."""

    def __init__(
        self,
        versions: KnownVersions,
        loaded: LoadedVersions,
        images: ImageDecoder,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._versions = versions
        self._loaded = loaded
        self._images = images
        self._clock = clock
        self._max_waiting = max_waiting
        self._pool = ThreadPoolExecutor(1, "shadow")
        self._waiting: deque[Answered] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        # Metrics are read on a thread of their own.
        self._lock = threading.Lock()
        self._records: OrderedDict[Key, ShadowRecord] = OrderedDict()
        self._asking: asyncio.Task[None] | None = None

    def answered(self, answered: Answered) -> None:
        """As Observer says: lets the alias's shadow be asked later, if it has one."""
        alias = answered.asked.reference.alias
        if alias is None or not _shadow(answered.asked.version.model, alias):
            return
        size = answered.features.nbytes
        if len(self._waiting) >= self._max_waiting or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._change(answered, lambda record: replace(record, dropped=record.dropped + 1))
            return
        self._change(answered, lambda record: replace(record, waiting=record.waiting + 1))
        self._waiting.append(answered)
        self._waiting_bytes += size
        self._settled.clear()
        self._arrived.set()

    async def start(self) -> None:
        """Starts to ask."""
        self._asking = asyncio.create_task(self._ask_all())

    async def drain(self) -> None:
        """Forgets what waits."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        self._pool.shutdown(wait=False)

    async def settled(self) -> None:
        """Returns when nothing waits."""
        await self._settled.wait()

    def find(self, model: Model, alias: str) -> ShadowRecord:
        """What came of the shadow that an alias has; zeros if nobody was answered with the alias since."""
        with self._lock:
            return self._find(model, alias)

    def reset(self, model: Model, alias: str) -> ShadowRecord:
        """Counts anew from now on, and returns what was counted until now."""
        with self._lock:
            record = self._find(model, alias)
            anew = ShadowRecord(model.owner, model.id, alias, record.shadow, self._clock(), waiting=record.waiting)
            self._keep(model, anew)
            return record

    def records(self) -> list[ShadowRecord]:
        """All that is kept."""
        with self._lock:
            return list(self._records.values())

    async def _ask_all(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                answered = self._waiting.popleft()
                self._waiting_bytes -= answered.features.nbytes
                await self._ask(answered)
            self._arrived.clear()
            self._settled.set()

    async def _ask(self, answered: Answered) -> None:
        model, alias = answered.asked.version.model, answered.asked.reference.alias
        assert alias is not None
        shadow = VersionReference(model.id, number=_shadow(model, alias))
        try:
            version = await self._versions.find(answered.asked.owner, shadow)
            async with self._loaded.using(version) as served:
                loop = asyncio.get_running_loop()
                nanoseconds, found = await loop.run_in_executor(
                    self._pool, self._compared, served, version.name, answered
                )
        except (FlareError, Incomparable) as error:
            self._failed(answered, str(error))
        except Exception:
            log.exception("shadow_broke", version=f"{model.name}/versions/{shadow.number}")
            self._failed(answered, "it broke; the server's log has the cause")
        else:
            self._change(answered, lambda record: _with(record, answered, nanoseconds, found))

    def _compared(self, served: ServedVersion, name: str, answered: Answered) -> tuple[int, list[Difference]]:
        """How many nanoseconds the shadow took, and how its answers differ."""
        began = time.perf_counter_ns()
        features = answered.inputs.features(served.features, self._images, name)
        answers = answers_of(served.targets, served.run(features))
        return time.perf_counter_ns() - began, differences(
            answers_of(answered.asked.served.targets, answered.outputs), answers
        )

    def _failed(self, answered: Answered, message: str) -> None:
        self._change(
            answered,
            lambda record: replace(
                record, waiting=max(record.waiting - 1, 0), failures=record.failures + 1, last_failure=message
            ),
        )

    def _change(self, answered: Answered, change: Callable[[ShadowRecord], ShadowRecord]) -> None:
        model, alias = answered.asked.version.model, answered.asked.reference.alias
        assert alias is not None
        with self._lock:
            self._keep(model, change(self._find(model, alias)))

    def _find(self, model: Model, alias: str) -> ShadowRecord:
        shadow = _shadow(model, alias)
        record = self._records.get((model.uid, alias, shadow))
        return record or ShadowRecord(model.owner, model.id, alias, shadow, self._clock())

    def _keep(self, model: Model, record: ShadowRecord) -> None:
        key = (model.uid, record.alias, record.shadow)
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > MAX_ALIASES:
            self._records.popitem(last=False)


def _shadow(model: Model, alias: str) -> int:
    """The number of an alias's shadow; 0 for none."""
    meaning = model.aliases.get(alias)
    return meaning.shadow if meaning else 0


def _with(record: ShadowRecord, answered: Answered, nanoseconds: int, found: list[Difference]) -> ShadowRecord:
    timings = answered.timings
    return replace(
        record,
        waiting=max(record.waiting - 1, 0),
        requests=record.requests + 1,
        rows=record.rows + len(answered.features),
        nanoseconds=record.nanoseconds + timings.waiting + timings.input + timings.network + timings.output,
        shadow_nanoseconds=record.shadow_nanoseconds + nanoseconds,
        targets=record.targets
        | {each.target: record.targets.get(each.target, TargetSums()).plus(each) for each in found},
    )
