"""Versions come into memory when they are asked for and leave it by a budget, never while somebody uses them."""

import asyncio
import gc
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_server.engines.choice import choose_engine, made_rows
from ml_server.engines.engine import EngineName
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import ENGINE_FILE, write_bundle
from ml_server.registry.values import Model, ModelVersion, VersionDetails
from servicekit.artifacts import FolderArtifacts
from servicekit.errors import NotFound
from tests.made_versions import numbers_version

SIZE = 1000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOADS = 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a version that ONNX Runtime serves."""
    bundle = numbers_version(4, (256, 256))
    engine = choose_engine(bundle.model, made_rows(bundle.model), tmp_path / ENGINE_FILE, EngineName.ONNXRUNTIME)
    write_bundle(tmp_path / "made", replace(bundle, details=bundle.details.model_copy(update={"engine": engine})))
    (tmp_path / ENGINE_FILE).rename(tmp_path / "made" / ENGINE_FILE)
    return tmp_path / "made"


def version(number: int, uid: str = "u1") -> ModelVersion:
    specification = ModelSpecification(architecture=MlpSpecification())
    model = Model(uid, "ann", "iris", "", specification, NOW, NOW)
    details = VersionDetails(parameter_count=1, digest="d")
    return ModelVersion(model, number, details, SIZE, NOW, f"versions/{uid}/{number}")


@pytest.fixture
def loaded(folder: Path, tmp_path: Path) -> LoadedVersions:
    """Room for two of the versions 1 to 4."""
    for number in range(1, 5):
        shutil.copytree(folder, tmp_path / "artifacts" / version(number).artifact)
    return LoadedVersions(FolderArtifacts(tmp_path / "artifacts"), 2 * SIZE)


async def served(loaded: LoadedVersions, number: int) -> ServedVersion:
    async with loaded.using(version(number)) as found:
        return found


async def test_a_version_is_loaded_once_for_all_who_ask(loaded: LoadedVersions) -> None:
    found = await asyncio.gather(*(served(loaded, 1) for _ in range(20)))
    assert len(set(map(id, found))) == 1
    assert await served(loaded, 1) is found[0]


async def test_the_one_that_was_not_used_for_longest_leaves(loaded: LoadedVersions) -> None:
    first, second = await served(loaded, 1), await served(loaded, 2)
    assert await served(loaded, 1) is first
    await served(loaded, 3)
    assert await served(loaded, 1) is first
    assert await served(loaded, 2) is not second


async def test_one_in_use_stays_past_the_budget(loaded: LoadedVersions) -> None:
    async with loaded.using(version(1)) as first:
        for number in (2, 3, 4):
            await served(loaded, number)
        assert await served(loaded, 1) is first


async def test_a_model_that_is_forgotten_is_loaded_anew(loaded: LoadedVersions) -> None:
    async with loaded.using(version(1)) as first:
        loaded.forget(version(1).model)
        assert await served(loaded, 1) is not first
        loaded.forget(version(1, "u2").model)
    again = await served(loaded, 1)
    assert await served(loaded, 1) is again


async def test_a_version_that_can_not_be_read_is_tried_again(loaded: LoadedVersions, folder: Path) -> None:
    missing = version(5)
    for _ in range(2):
        with pytest.raises(NotFound):
            await served(loaded, 5)
    shutil.copytree(folder, folder.parent / "artifacts" / missing.artifact)
    assert (await served(loaded, 5)).details.parameter_count > 0
    for number in (1, 2):
        await served(loaded, number)  # the failures took nothing of the budget
    assert await served(loaded, 1) is await served(loaded, 1)


async def test_who_leaves_while_it_loads_takes_nothing_from_the_others(loaded: LoadedVersions) -> None:
    leaving, staying = (asyncio.create_task(served(loaded, 1)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    found = await staying
    assert await served(loaded, 1) is found
    for number in (2, 3):
        await served(loaded, number)
    assert await served(loaded, 1) is not found  # nobody counts as a user of it any more


def test_loading_and_unloading_leaves_memory_level(folder: Path) -> None:
    for _ in range(50):
        ServedVersion.read(folder)
    gc.collect()
    before = _private_bytes()
    for _ in range(LOADS):
        ServedVersion.read(folder)
    gc.collect()
    # Less than a tenth of each file has stayed.
    assert _private_bytes() - before < LOADS * (folder / ENGINE_FILE).stat().st_size // 10


def _private_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return kilobytes * 1024
