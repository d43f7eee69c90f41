"""Folders that can be made again: kept on this disk within a budget of bytes, and shared by processes.

A folder that is in use is locked by flock, which the system lets go when a process ends, however it ends.
"""

import fcntl
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import structlog

from servicekit.errors import Reason, ResourceExhausted

log = structlog.get_logger()

GIGABYTE = 10**9
LOCKS = ".locks"
# In a folder whose bytes may not have reached the disk yet: names the boot in which it was made.
UNSYNCED = ".unsynced"
SYNC_THREAD = "folder-sync"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
WAIT_SECONDS = 0.02


class Lease(AbstractContextManager["Lease"]):
    """A folder in use: it stays until the lease is closed or dropped, or its process ends."""

    def __init__(self, directory: Path, lock: FileIO) -> None:
        self.directory = directory
        self._lock = lock

    def close(self) -> None:
        """Gives the folder free; again does nothing."""
        self._lock.close()

    def __exit__(self, *error: object) -> None:
        """As `close`."""
        self.close()


class Claim(AbstractContextManager["Claim"]):
    """A folder in making, by nobody else. What is not published when the block ends is removed."""

    def __init__(self, directory: Path, lock: FileIO) -> None:
        self._directory = directory
        self._lock = lock
        self.staging = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.part")
        self.staging.mkdir(parents=True)

    def publish(self) -> None:
        """Makes the folder visible, whole, at once. Its bytes reach the disk behind, see `UNSYNCED`."""
        (self.staging / UNSYNCED).write_text(_boot_id())
        opened = os.open(self.staging, os.O_RDONLY | os.O_DIRECTORY)
        if not _boot_id():
            _sync(os.dup(opened))
        shutil.rmtree(self._directory, ignore_errors=True)  # one that is not whole
        self.staging.rename(self._directory)
        threading.Thread(target=_sync, args=(opened,), name=SYNC_THREAD, daemon=True).start()

    def close(self) -> None:
        """Ends the making."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self._lock.close()

    def __exit__(self, *error: object) -> None:
        """As `close`."""
        self.close()


@dataclass(frozen=True)
class FolderCache:
    """Folders below `root`. `budget_bytes` is what they may take together, but for those in use."""

    root: Path
    budget_bytes: int

    def lease(self, key: str) -> Lease | None:
        """The folder of a key, which is now the one used last; None if it is not there, or on its way in or out."""
        directory = self.root / key
        if not directory.is_dir():
            return None
        lock = self._locked(key, fcntl.LOCK_SH)
        if lock is None:
            return None
        if not _is_whole(directory):
            lock.close()
            return None
        os.utime(directory)
        return Lease(directory, lock)

    def claim(self, key: str) -> Claim | None:
        """The right to make the folder of a key; None if it is there, or somebody else is at it."""
        lock = self._locked(key, fcntl.LOCK_EX)
        if lock is None:
            return None
        directory = self.root / key
        if _is_whole(directory):
            lock.close()
            return None
        self._remove_leftovers(key)
        return Claim(directory, lock)

    def get(self, key: str, make: Callable[[Path], None]) -> Lease:
        """The folder of a key, filled by `make` if it is not there. Waits while another process makes it."""
        while (lease := self.lease(key)) is None:
            claim = self.claim(key)
            if claim is None:
                time.sleep(WAIT_SECONDS)
                continue
            with claim:
                make(claim.staging)
                claim.publish()
        return lease

    def require_room(self, what: str, size_bytes: int) -> None:
        """Makes room for something that is to become a folder.

        Raises:
            ResourceExhausted: LIMIT_EXCEEDED: it is larger than all folders together may be.
        """
        if size_bytes > self.budget_bytes:
            message = (
                f"{what} takes about {size_bytes / GIGABYTE:.3g} GB on the machine that trains, and it may keep "
                f"{self.budget_bytes / GIGABYTE:.3g} GB: take fewer rows or columns into the view, or have the "
                "operator raise FLARE_ML_VIEW_CACHE_BYTES"
            )
            raise ResourceExhausted(Reason.LIMIT_EXCEEDED, message)
        if over := self.make_room(size_bytes):
            log.warning("view_cache_over_budget", what=what, over_bytes=over, reason="all others are in use")

    def make_room(self, size_bytes: int) -> int:
        """Removes folders, those not used for longest first, until `size_bytes` more fit into the budget.

        Folders in use stay. Returns the bytes above the budget that there will be for that reason, or 0.
        """
        entries = []
        for directory in self._folders():
            with suppress(FileNotFoundError):  # somebody removes it
                entries.append((directory.stat().st_mtime_ns, folder_size(directory), directory))
        over = sum(size for _, size, _ in entries) + size_bytes - self.budget_bytes
        for _, size, directory in sorted(entries):
            is_leftover = directory.name.startswith(".")
            if (over > 0 or is_leftover) and self._remove(directory, is_leftover=is_leftover):
                over -= size
        return max(over, 0)

    def _folders(self) -> list[Path]:
        """Those that can be had, and those in making or left half-made, whose names begin with a dot."""
        if not self.root.is_dir():
            return []
        return [each for each in self.root.iterdir() if each.name != LOCKS]

    def _remove(self, directory: Path, *, is_leftover: bool) -> bool:
        """False if the folder is in use, or in making."""
        key = directory.name.removeprefix(".").split(".")[0]
        lock = self._locked(key, fcntl.LOCK_EX)
        if lock is None:
            return False
        if not is_leftover:
            with suppress(FileNotFoundError):
                directory.rename(self.root / f".{key}.removed")
        self._remove_leftovers(key)
        if not (self.root / key).exists():
            (self.root / LOCKS / key).unlink()
        lock.close()
        return True

    def _remove_leftovers(self, key: str) -> None:
        """What a process that was killed left of a key that is locked now."""
        for left in self.root.glob(f".{key}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def _locked(self, key: str, operation: int) -> FileIO | None:
        """The open file that holds a key's lock, None if others hold it."""
        path = self.root / LOCKS / key
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = FileIO(path, "a")
            try:
                fcntl.flock(lock, operation | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    return lock
            except BlockingIOError:
                lock.close()
                return None
            except FileNotFoundError:
                pass
            lock.close()  # of a folder that was removed in between; another lock has the name


def folder_size(directory: Path) -> int:
    """Bytes of the files in a folder, or in one that somebody removes meanwhile."""
    total = 0
    with suppress(FileNotFoundError):
        for file in directory.iterdir():
            total += file.stat().st_size
    return total


def half_of_disk(root: Path) -> int:
    """Half of what the folders of a cache take and of what is free beside them, in bytes."""
    root.mkdir(parents=True, exist_ok=True)
    taken = sum(folder_size(each) for each in root.iterdir() if each.is_dir())
    return (taken + shutil.disk_usage(root).free) // 2


def _is_whole(directory: Path) -> bool:
    """False for a folder whose bytes a machine that went down may have lost."""
    try:
        return (directory / UNSYNCED).read_text() == _boot_id()
    except FileNotFoundError:
        return directory.is_dir()


def _boot_id() -> str:
    """What is the same until the machine starts again; empty where the system doesn't tell."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _sync(directory: int) -> None:
    """Waits until a folder's files are on the disk, and takes its mark off. Works on one that is renamed or removed."""
    with suppress(OSError):
        for name in os.listdir(directory):
            file = os.open(name, os.O_RDONLY, dir_fd=directory)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        os.fsync(directory)
        os.unlink(UNSYNCED, dir_fd=directory)
    os.close(directory)
