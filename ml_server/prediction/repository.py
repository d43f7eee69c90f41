"""An owner's models as a repository that serves them: what there is, what it takes, and what lies in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.statistics import Statistics, VersionStatistics
from ml_server.registry.bundle import Preprocessing, read_preprocessing
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.store import ModelStore, no_version_yet
from ml_server.registry.values import Model, ModelVersion, VersionReference
from servicekit.artifacts import ArtifactStore
from servicekit.errors import FailedPrecondition, NotFound

PAGE = 500
READY = "READY"
UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Description:
    """A version with its preprocessing, and the numbers of all versions that could have been meant, oldest first."""

    version: ModelVersion
    numbers: list[int]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class IndexEntry:
    """A version of a model; number 0: the model has none, and `reason` says what to do."""

    model: str
    number: int
    state: str = READY
    reason: str = ""


class Repository:
    """Tells what can be predicted with. A version is ready as soon as it exists: the first prediction loads it."""

    def __init__(
        self,
        store: ModelStore,
        versions: KnownVersions,
        artifacts: ArtifactStore,
        loaded: LoadedVersions,
        statistics: Statistics,
    ) -> None:
        self._store = store
        self._versions = versions
        self._artifacts = artifacts
        self._loaded = loaded
        self._statistics = statistics

    async def is_ready(self, owner: str, reference: VersionReference) -> bool:
        """True if there is such a version."""
        try:
            await self._versions.find(owner, reference)
        except (NotFound, FailedPrecondition):
            return False
        return True

    async def describe(self, owner: str, reference: VersionReference) -> Description:
        """What a version takes and gives. Raises NotFound, FailedPrecondition (NO_VERSION)."""
        version = await self._versions.find(owner, reference)
        directory = await self._artifacts.fetch(version.artifact)
        preprocessing = await asyncio.to_thread(read_preprocessing, directory)
        is_latest = reference.number is None and reference.alias is None
        numbers = await self._numbers(version.model) if is_latest else [version.number]
        return Description(version, numbers, preprocessing)

    async def index(self, owner: str, *, ready_only: bool) -> list[IndexEntry]:
        """Every version of every model of an owner, by name and number."""
        entries = []
        async for model in self._models(owner):
            if model.latest_version:
                entries += [IndexEntry(model.id, number) for number in await self._numbers(model)]
            elif not ready_only:
                entries.append(IndexEntry(model.id, 0, UNAVAILABLE, no_version_yet(model).message))
        return sorted(entries, key=lambda entry: (entry.model, entry.number))

    async def load(self, owner: str, reference: VersionReference) -> None:
        """Brings a version into memory, or all that an alias needs, so that the next prediction need not.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
        """
        version = await self._versions.find(owner, reference)
        numbers = version.model.aliases[reference.alias].versions if reference.alias else (version.number,)
        for number in numbers:
            async with self._loaded.using(
                await self._versions.find(owner, replace(reference, alias=None, number=number))
            ):
                pass

    async def unload(self, owner: str, model_id: str) -> None:
        """Lets a model's versions leave memory; the next prediction loads anew. Raises NotFound."""
        self._loaded.forget(await self._store.get(owner, model_id))

    async def statistics(self, owner: str, reference: VersionReference | None) -> list[VersionStatistics]:
        """The sums of what `reference` means, of all versions if it names none of them, or of all models if None.

        Raises:
            NotFound: There is no such model or version.
        """
        if reference is None:
            return self._statistics.of_owner(owner)
        if reference.number is None and reference.alias is None:
            model = await self._store.get(owner, reference.model)
            return [self._statistics.find(version) async for version in self._versions_of(model)]
        return [self._statistics.find(await self._versions.find(owner, reference))]

    async def _models(self, owner: str) -> AsyncIterator[Model]:
        before = None
        while page := await self._store.page(owner, before, PAGE):
            for model in page:
                yield model
            before = (page[-1].create_time, page[-1].uid)

    async def _numbers(self, model: Model) -> list[int]:
        return sorted([version.number async for version in self._versions_of(model)])

    async def _versions_of(self, model: Model) -> AsyncIterator[ModelVersion]:
        before = None
        while page := await self._store.versions(model, before, PAGE):
            for version in page:
                yield version
            before = page[-1].number
