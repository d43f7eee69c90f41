"""A disk of a few kilobytes, that can be filled, made read-only, and freed again."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory, mounted at `directory`; mounting needs root."""

    directory: Path

    def fill(self) -> None:
        """Leaves no byte free."""
        with (self.directory / "filler").open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        """Takes away what filled it."""
        (self.directory / "filler").unlink()

    def protect(self) -> None:
        """Lets nobody write, not even root."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.directory)], check=True)


@contextmanager
def small_disk(directory: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mounts an empty disk of so many bytes."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "flare-test", str(directory)], check=True)
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
