"""What is written is whole or absent."""

import stat
from pathlib import Path

import pytest

from servicekit.artifacts import open_artifacts
from servicekit.errors import AlreadyExists, NotFound
from servicekit.files import staged_directory, staged_file, write_secret


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "version"
    with staged_directory(target) as staging:
        (staging / "config.json").write_text("{}")
        assert not target.exists()
    assert [file.name for file in target.iterdir()] == ["config.json"]
    assert [path.name for path in target.parent.iterdir()] == ["version"]


def test_nothing_is_left_of_a_folder_that_failed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged_directory(tmp_path / "version") as staging:
        (staging / "config.json").write_text("{}")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_rewritten(tmp_path: Path) -> None:
    target = tmp_path / "version"
    with staged_directory(target) as staging:
        (staging / "one").write_text("1")
    with pytest.raises(AlreadyExists), staged_directory(target):
        pass
    assert (target / "one").read_text() == "1"


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint.pt"
    with staged_file(target) as staging:
        staging.write_text("first")
    with pytest.raises(RuntimeError), staged_file(target) as staging:
        staging.write_text("half")
        raise RuntimeError
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_secret(tmp_path / "password", "correct horse")
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600


async def test_artifacts_are_whole_or_absent(tmp_path: Path) -> None:
    artifacts = open_artifacts(str(tmp_path / "artifacts"))
    async with artifacts.staged("tables/ab") as staging:
        (staging / "rows").write_text("1")
        assert not await artifacts.exists("tables/ab")
    assert (await artifacts.fetch("tables/ab") / "rows").read_text() == "1"
    with pytest.raises(RuntimeError):
        async with artifacts.staged("tables/cd"):
            raise RuntimeError
    assert not await artifacts.exists("tables/cd")


async def test_equal_content_stored_twice_is_kept_once(tmp_path: Path) -> None:
    artifacts = open_artifacts(f"file://{tmp_path}/artifacts")
    for text in ("first", "second"):
        async with artifacts.staged("tables/ab") as staging:
            (staging / "rows").write_text(text)
    assert (await artifacts.fetch("tables/ab") / "rows").read_text() == "first"
    await artifacts.delete("tables/ab")
    await artifacts.delete("tables/ab")
    with pytest.raises(NotFound):
        await artifacts.fetch("tables/ab")


@pytest.mark.parametrize("key", ["../outside", "/etc", ""])
async def test_a_key_never_leaves_the_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="leaves its folder"):
        await open_artifacts(str(tmp_path)).exists(key)


def test_an_address_that_is_no_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="only folders"):
        open_artifacts("ftp://somewhere/x")
