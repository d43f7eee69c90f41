"""Versions in memory: loaded when first asked for, counted while in use, dropped by a budget of bytes."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.values import Model, ModelVersion
from servicekit.artifacts import ArtifactStore

log = structlog.get_logger()

Key = tuple[str, int]


@dataclass
class _Loaded:
    key: Key
    served: asyncio.Future[ServedVersion]
    size_bytes: int
    users: int = 0
    found: ServedVersion | None = None
    """What `served` gave."""


class LoadedVersions:
    """The versions that were used last. One in use never leaves, even past the budget."""

    def __init__(self, artifacts: ArtifactStore, budget_bytes: int) -> None:
        self._artifacts = artifacts
        self._budget_bytes = budget_bytes
        self._loaded: OrderedDict[Key, _Loaded] = OrderedDict()
        self._bytes = 0

    def using(self, version: ModelVersion) -> "Use":
        """The version's network and preprocessing, for as long as an `async with` block runs. Raises NotFound."""
        return Use(self, version)

    def at_hand(self, version: ModelVersion) -> ServedVersion | None:
        """The version if it is in memory, for whoever is done with it before anything else may run."""
        loaded = self._loaded.get((version.model.uid, version.number))
        if loaded is None or loaded.found is None:
            return None
        self._loaded.move_to_end(loaded.key)
        return loaded.found

    def forget(self, model: Model) -> None:
        """Lets the versions of a model leave memory; those who use one at the moment keep it to their end."""
        for loaded in [loaded for key, loaded in self._loaded.items() if key[0] == model.uid]:
            self._drop(loaded)
            log.info("version_unloaded", model=model.uid, number=loaded.key[1])

    async def _load(self, version: ModelVersion) -> ServedVersion:
        directory = await self._artifacts.fetch(version.artifact)
        served = await asyncio.to_thread(ServedVersion.read, directory)
        log.info("version_loaded", version=version.name, size_bytes=version.size_bytes)
        return served

    def _take(self, version: ModelVersion) -> _Loaded:
        key = (version.model.uid, version.number)
        loaded = self._loaded.get(key)
        if loaded is None:
            # The first who asks loads it; whoever asks meanwhile waits for the same future.
            loaded = _Loaded(key, asyncio.ensure_future(self._load(version)), version.size_bytes)
            self._loaded[key] = loaded
            self._bytes += loaded.size_bytes
        self._loaded.move_to_end(key)
        loaded.users += 1
        return loaded

    def _put_back(self, loaded: _Loaded) -> None:
        loaded.users -= 1
        if self._bytes > self._budget_bytes:
            self._shrink()

    def _drop(self, loaded: _Loaded) -> None:
        if self._loaded.get(loaded.key) is loaded:
            del self._loaded[loaded.key]
            self._bytes -= loaded.size_bytes

    def _shrink(self) -> None:
        for loaded in list(self._loaded.values()):
            if self._bytes <= self._budget_bytes:
                return
            if loaded.users == 0:
                self._drop(loaded)
                log.info("version_unloaded", model=loaded.key[0], number=loaded.key[1])


class Use:
    """A version in use: not a generator, since each prediction goes through here."""

    __slots__ = ("_loaded", "_version", "_versions")

    def __init__(self, versions: LoadedVersions, version: ModelVersion) -> None:
        self._versions = versions
        self._version = version

    async def __aenter__(self) -> ServedVersion:
        self._loaded = loaded = self._versions._take(self._version)
        if loaded.found is not None:
            return loaded.found
        try:
            loaded.found = await asyncio.shield(loaded.served)
            return loaded.found
        except BaseException as error:
            if isinstance(error, Exception):
                self._versions._drop(loaded)  # the next one tries anew
            self._versions._put_back(loaded)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._versions._put_back(self._loaded)
