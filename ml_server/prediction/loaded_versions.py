"""Versions in memory: loaded when first asked for, counted while in use, dropped by a budget of bytes."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.values import Model, ModelVersion
from servicekit.artifacts import ArtifactStore

log = structlog.get_logger()

Key = tuple[str, int]


@dataclass
class _Loaded:
    served: asyncio.Future[ServedVersion]
    size_bytes: int
    users: int = 0


class LoadedVersions:
    """The versions that were used last. One in use never leaves, even past the budget."""

    def __init__(self, artifacts: ArtifactStore, budget_bytes: int) -> None:
        self._artifacts = artifacts
        self._budget_bytes = budget_bytes
        self._loaded: OrderedDict[Key, _Loaded] = OrderedDict()

    @asynccontextmanager
    async def using(self, version: ModelVersion) -> AsyncIterator[ServedVersion]:
        """The version's network and preprocessing, for as long as the block runs. Raises NotFound."""
        key = (version.model.uid, version.number)
        loaded = self._loaded.get(key)
        if loaded is None:
            # The first who asks loads it; whoever asks meanwhile waits for the same future.
            loaded = _Loaded(asyncio.ensure_future(self._load(version)), version.size_bytes)
            self._loaded[key] = loaded
        self._loaded.move_to_end(key)
        loaded.users += 1
        try:
            try:
                served = await asyncio.shield(loaded.served)
            except Exception:
                self._loaded.pop(key, None)  # the next one tries anew
                raise
            yield served
        finally:
            loaded.users -= 1
            self._shrink()

    def forget(self, model: Model) -> None:
        """Lets the versions of a model leave memory; those who use one at the moment keep it to their end."""
        for key in [key for key in self._loaded if key[0] == model.uid]:
            del self._loaded[key]
            log.info("version_unloaded", model=key[0], number=key[1])

    async def _load(self, version: ModelVersion) -> ServedVersion:
        directory = await self._artifacts.fetch(version.artifact)
        served = await asyncio.to_thread(ServedVersion.read, directory)
        log.info("version_loaded", version=version.name, size_bytes=version.size_bytes)
        return served

    def _shrink(self) -> None:
        total = sum(loaded.size_bytes for loaded in self._loaded.values())
        for key, loaded in list(self._loaded.items()):
            if total <= self._budget_bytes:
                return
            if loaded.users == 0:
                del self._loaded[key]
                total -= loaded.size_bytes
                log.info("version_unloaded", model=key[0], number=key[1])
