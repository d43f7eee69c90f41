"""The repository of an owner's versions: what is brought into memory before anybody asks."""

from pathlib import Path

from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.repository import Repository
from ml_server.prediction.statistics import Statistics
from ml_server.registry.aliases import Alias, Share
from ml_server.registry.bundle import write_bundle
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.values import VersionReference
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from tests.made_versions import numbers_version

ANN = "accounts/ann"


class CountingArtifacts(FolderArtifacts):
    """Notes what it is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: list[str] = []

    async def fetch(self, key: str) -> Path:
        """As ArtifactStore says."""
        self.fetched.append(key)
        return await super().fetch(key)


async def test_all_versions_that_an_alias_needs_are_loaded_with_it(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    store, artifacts = SqlModelStore(database), CountingArtifacts(tmp_path)
    bundle = numbers_version(2, (4,))
    model = await store.create(ANN, "iris", "", bundle.model.config.specification, None)
    for number in range(1, 5):
        write_bundle(tmp_path / f"v{number}", bundle)
        await store.add_version(model, bundle.details, 1, f"v{number}")
    await store.set_alias(model, "prod", Alias(2, (Share(2, 9), Share(1, 1)), shadow=4), "")
    versions, loaded = KnownVersions(store), LoadedVersions(artifacts, 1 << 30)
    repository = Repository(store, versions, artifacts, loaded, Statistics())

    await repository.load(ANN, VersionReference("iris", number=3))
    assert artifacts.fetched == ["v3"]
    await repository.load(ANN, VersionReference("iris", alias="prod"))
    assert artifacts.fetched == ["v3", "v2", "v1", "v4"]
    await database.close()
