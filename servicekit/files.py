"""Writes that are whole or absent, whatever happens in between."""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from servicekit.errors import AlreadyExists, Reason


@contextmanager
def staged_directory(directory: Path) -> Iterator[Path]:
    """Yields an empty folder beside `directory`, which becomes `directory` when the block ends without error.

    Until then nobody sees `directory`; after an error nothing is left.

    Raises:
        AlreadyExists: `directory` is there before or after the block; it is never changed.
    """
    if directory.exists():
        raise _taken(directory)
    staging = _new_staging(directory)
    try:
        yield staging
        _publish(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@asynccontextmanager
async def staging_directory(directory: Path) -> AsyncIterator[Path]:
    """As `staged_directory`, without its check beforehand, and with the waiting for the disk off the event loop."""
    staging = await asyncio.to_thread(_new_staging, directory)
    try:
        yield staging
        await asyncio.to_thread(_publish, staging, directory)
    finally:
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`; the file written there replaces `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield staging
        _sync(staging)
        staging.replace(path)
        _sync(path.parent)
    finally:
        staging.unlink(missing_ok=True)


def write_secret(path: Path, secret: str) -> None:
    """Writes a file that only its owner may read (mode 0600), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path) as staging:
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)


def folder_bytes(directory: Path) -> int:
    """Bytes of all files directly in a folder."""
    return sum(file.stat().st_size for file in directory.iterdir())


def _new_staging(directory: Path) -> Path:
    staging = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.part")
    staging.mkdir(parents=True)
    return staging


def _publish(staging: Path, directory: Path) -> None:
    """Makes a filled folder visible under its name, once all of it is on the disk."""
    _sync_tree(staging)
    try:
        staging.rename(directory)
    except OSError as error:
        if directory.exists():
            raise _taken(directory) from error
        raise
    _sync(directory.parent)


def _taken(directory: Path) -> AlreadyExists:
    return AlreadyExists(Reason.NAME_TAKEN, f"folder '{directory.name}' is already there and is never rewritten")


def _sync_tree(directory: Path) -> None:
    for parent, _, files in os.walk(directory):
        for name in files:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
