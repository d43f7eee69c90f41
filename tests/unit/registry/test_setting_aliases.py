"""Aliases that several people set at the same time: nobody's change is lost, and nobody is refused for another's."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from ml_server.registry.aliases import Alias, Share
from ml_server.registry.bundle import write_bundle
from ml_server.registry.models import Models
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.values import Model, version_artifact
from ml_server.views.scraper import ScraperClient
from servicekit.artifacts import open_artifacts
from servicekit.database import Database
from servicekit.errors import Aborted, Reason
from tests.made_versions import numbers_version

ANN = "accounts/ann"


class InterruptedStore(SqlModelStore):
    """Somebody else writes just before the first write that `interrupted` is set for."""

    interrupted: Callable[[], Awaitable[object]] | None = None

    async def set_alias(self, model: Model, name: str, alias: Alias, etag: str) -> Model:
        """As ModelStore says."""
        if self.interrupted is not None:
            interrupt, self.interrupted = self.interrupted, None
            await interrupt()
        return await super().set_alias(model, name, alias, etag)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[InterruptedStore]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    yield InterruptedStore(database)
    await database.close()


@pytest.fixture
async def models(store: InterruptedStore, tmp_path: Path) -> AsyncIterator[Models]:
    """Rules around a model `iris` with three versions over the same columns."""
    artifacts, bundle = open_artifacts(str(tmp_path / "artifacts")), numbers_version(2, ())
    write_bundle(tmp_path / "bundle", bundle)
    model = await store.create(ANN, "iris", "", bundle.model.config.specification, None)
    for number in range(3):
        key = version_artifact(model.uid, str(number))
        async with artifacts.staged(key) as staging:
            shutil.copytree(tmp_path / "bundle", staging, dirs_exist_ok=True)
        await store.add_version(model, bundle.details, 1, key)
    nowhere = grpc.aio.insecure_channel("127.0.0.1:1")
    yield Models(store, artifacts, ScraperClient(nowhere, _no_token), 1_000, _needed_by_nothing)
    await nowhere.close()


async def _no_token() -> str:
    return ""


async def _needed_by_nothing(owner: str, model_id: str, version: int | None) -> str:
    return ""


async def test_a_shadow_that_comes_meanwhile_is_kept(store: InterruptedStore, models: Models) -> None:
    store.interrupted = lambda: models.set_alias(ANN, "iris", "prod", Alias(1, shadow=3))
    shares = (Share(1, 50), Share(2, 50))
    changed = await models.set_alias(ANN, "iris", "prod", Alias(1, shares), keep_shadow=True)
    assert changed.aliases == {"prod": Alias(1, shares, shadow=3)}


async def test_only_who_names_what_they_read_is_refused_for_what_others_changed(
    store: InterruptedStore, models: Models
) -> None:
    read = await store.get(ANN, "iris")
    moves = [models.set_alias(ANN, "iris", f"a{number}", Alias(1)) for number in range(6)]
    await asyncio.gather(*moves)
    assert len((await store.get(ANN, "iris")).aliases) == 6
    with pytest.raises(Aborted) as old:
        await models.set_alias(ANN, "iris", "prod", Alias(1), etag=read.etag)
    assert old.value.reason is Reason.ETAG_MISMATCH
