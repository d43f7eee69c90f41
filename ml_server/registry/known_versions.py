"""The versions that names mean, remembered for a moment: predictions ask for the same few again and again."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ml_server.registry.store import ModelStore
from ml_server.registry.values import ModelVersion, VersionReference
from servicekit.errors import NotFound

# What this process writes counts at once, and what others of this server write as soon as they have told. What another
# server on the same database writes counts after so long.
KEPT_SECONDS = 1.0
# An answer that is still in use after so long is asked for again, so that nobody waits when its time is over.
RENEWED_SECONDS = 0.8
MAX_KEPT = 10_000

Key = tuple[str, VersionReference]


@dataclass(slots=True)
class _Known:
    version: asyncio.Future[ModelVersion]
    write_count: int
    """That of the store before it was asked: after a write the answer may be another one."""
    asked: float
    renewed: "_Known | None" = None
    """What takes its place as soon as it is there."""
    found: ModelVersion | None = None
    """The version once it is there."""

    def look(self, version: asyncio.Future[ModelVersion]) -> None:
        """Called when it is known, or can't be. An error is told to those who wait; if all left, nobody needs it."""
        if not version.cancelled() and version.exception() is None:
            self.found = version.result()


class KnownVersions:
    """Asks the store once for all who want to know the same at the same time, and for those who come soon after."""

    def __init__(self, store: ModelStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[Key, _Known] = {}

    async def find(self, owner: str, reference: VersionReference) -> ModelVersion:
        """The version that an owner means. Raises NotFound, FailedPrecondition (NO_VERSION)."""
        version = self._at_hand(owner, reference)
        if version is not None:
            return version
        key = (owner, reference)
        known = self._known.get(key)
        if known is None or not self._is_good(known):
            known = self._known[key] = self._ask(key)
        if not known.version.done():
            await asyncio.wait([known.version])  # unlike awaiting it, this leaves it alone when the caller leaves
        if known.version.cancelled() or known.version.exception() is not None:
            self._known.pop(key, None)  # the next one asks anew
        return known.version.result()

    def at_hand(self, owner: str, reference: VersionReference, request_id: str) -> ModelVersion | None:
        """As `answering`, where that needs no wait: for most requests."""
        version = self._at_hand(owner, reference)
        if version is None or reference.alias is None:
            return version
        number = _answering(version, reference, request_id)
        if number == version.number:
            return version
        return self._at_hand(owner, VersionReference(reference.model, number=number))

    async def answering(self, owner: str, reference: VersionReference, request_id: str) -> ModelVersion:
        """The version that answers a request with an id, which decides if an alias is shared out among several.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
        """
        version = await self.find(owner, reference)
        number = _answering(version, reference, request_id)
        if number == version.number:
            return version
        try:
            return await self.find(owner, VersionReference(reference.model, number=number))
        except NotFound:
            # Another server gave the alias another meaning, and deleted the version, since this one looked.
            self._known.pop((owner, reference), None)
            version = await self.find(owner, reference)
            number = _answering(version, reference, request_id)
            return await self.find(owner, VersionReference(reference.model, number=number))

    def _at_hand(self, owner: str, reference: VersionReference) -> ModelVersion | None:
        key = (owner, reference)
        known = self._known.get(key)
        if known is None or known.found is None or not self._is_good(known):
            return None
        if self._clock() - known.asked >= RENEWED_SECONDS:
            if known.renewed is None:
                known.renewed = self._ask(key)
            elif known.renewed.version.done():
                self._known[key] = known.renewed
        return known.found

    def _is_good(self, known: _Known) -> bool:
        return known.write_count == self._store.write_count and self._clock() - known.asked < KEPT_SECONDS

    def _ask(self, key: Key) -> _Known:
        if len(self._known) >= MAX_KEPT:
            self._known.clear()
        version = asyncio.ensure_future(self._store.version(*key))
        known = _Known(version, self._store.write_count, self._clock())
        version.add_done_callback(known.look)
        return known


def _answering(version: ModelVersion, reference: VersionReference, request_id: str) -> int:
    if reference.alias is None:
        return version.number
    alias = version.model.aliases[reference.alias]
    return alias.answering(f"{version.model.name}@{reference.alias}", request_id)
