"""Folders of a cache stay while somebody uses them, leave by a budget, and are whole or absent."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from ml_server.views.folder_cache import SYNC_THREAD, UNSYNCED, FolderCache, half_of_disk

KEYS = ["a", "b", "c"]


def fill(size_bytes: int) -> "Filling":
    return Filling(size_bytes)


class Filling:
    """Makes a folder of so many bytes, and counts how often."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "rows").write_bytes(b"r" * self.size_bytes)


@pytest.fixture
def cache(tmp_path: Path) -> FolderCache:
    return FolderCache(tmp_path / "cache", 1000)


def made(cache: FolderCache, *keys: str) -> None:
    for key in keys:
        cache.get(key, fill(300)).close()
        (cache.root / key / UNSYNCED).unlink(missing_ok=True)  # as when the disk has it


def kept(cache: FolderCache) -> list[str]:
    return [key for key in KEYS if (cache.root / key).exists()]


def names(cache: FolderCache) -> list[str]:
    return sorted(each.name for each in cache.root.iterdir())


def test_a_folder_is_made_once(cache: FolderCache) -> None:
    filling = fill(10)
    for _ in range(3):
        with cache.get("a", filling) as lease:
            assert (lease.directory / "rows").read_bytes() == b"r" * 10
    assert filling.times == 1


def test_those_not_used_for_longest_leave_first(cache: FolderCache) -> None:
    made(cache, *KEYS)
    cache.get("a", fill(300)).close()
    assert cache.make_room(100) == 0
    assert kept(cache) == ["a", "b", "c"]
    assert cache.make_room(101) == 0
    assert kept(cache) == ["a", "c"]
    assert cache.make_room(1000) == 0
    assert names(cache) == [".locks"]
    assert list((cache.root / ".locks").iterdir()) == []


def test_one_in_use_stays_and_what_is_above_the_budget_is_told(cache: FolderCache) -> None:
    made(cache, *KEYS)
    with cache.get("b", fill(300)):
        assert cache.make_room(900) == 200
        assert kept(cache) == ["b"]
    assert cache.make_room(900) == 0
    assert kept(cache) == []


def _hold(root: Path, ready: Connection) -> None:
    cache = FolderCache(root, 1000)
    lease = cache.get("a", fill(300))
    claim = cache.claim("b")
    assert claim is not None
    (claim.staging / "rows").write_bytes(b"half")
    ready.send(lease.directory.name)
    signal.pause()


@pytest.fixture
def holder(cache: FolderCache) -> SpawnProcess:
    """A process that uses `a` and is making `b`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(cache.root, theirs), daemon=True)
    process.start()
    assert ours.recv() == "a"
    return process


def test_other_processes_are_respected_until_they_are_killed(cache: FolderCache, holder: SpawnProcess) -> None:
    assert cache.make_room(1000) > 0
    assert kept(cache) == ["a"]
    assert (cache.lease("b"), cache.claim("b")) == (None, None)
    assert any(name.startswith(".b.") for name in names(cache))
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert cache.make_room(0) == 0
    assert names(cache) == [".locks", "a"]  # what was half-made is gone
    assert cache.make_room(1000) == 0
    assert names(cache) == [".locks"]


def test_a_killed_makers_folder_is_made_anew(cache: FolderCache, holder: SpawnProcess) -> None:
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with cache.get("b", fill(300)) as lease:
        assert (lease.directory / "rows").stat().st_size == 300
    assert names(cache) == [".locks", "a", "b"]


def test_a_failed_making_leaves_nothing(cache: FolderCache) -> None:
    def failing(folder: Path) -> None:
        (folder / "rows").write_bytes(b"half")
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        cache.get("a", failing)
    assert names(cache) == [".locks"]
    made(cache, "a")


def test_a_folder_that_a_machine_lost_on_its_way_to_the_disk_is_made_anew(cache: FolderCache) -> None:
    made(cache, "a")
    mark = cache.root / "a" / UNSYNCED
    for thread in [each for each in threading.enumerate() if each.name == SYNC_THREAD]:
        thread.join()
    assert not mark.exists()  # all is on the disk
    mark.write_text("an earlier boot")
    assert cache.lease("a") is None
    filling = fill(20)
    with cache.get("a", filling) as lease:
        assert (lease.directory / "rows").stat().st_size == 20
    assert filling.times == 1


def test_a_lease_that_is_dropped_is_no_lease(cache: FolderCache) -> None:
    made(cache, "a")
    cache.get("a", fill(300))
    cache.make_room(1000)
    assert kept(cache) == []


def test_half_of_the_disk_counts_what_is_free_and_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "new" / "cache"
    free = half_of_disk(root) * 2
    assert free > 0
    (root / "a").mkdir()
    (root / "a" / "rows").write_bytes(b"")
    os.truncate(root / "a" / "rows", 10 * 10**12)  # a hole, which takes no room
    assert half_of_disk(root) > 5 * 10**12
