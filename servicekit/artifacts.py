"""Folders of files under a key, written whole or not at all. Where they lie is a setting."""

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from servicekit.errors import AlreadyExists, NotFound, Reason
from servicekit.files import staging_directory


class ArtifactStore(Protocol):
    """Keeps folders by key, such as `tables/ab12...`. A key's content never changes."""

    def staged(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Yields a local folder to fill. It becomes the artifact when the block ends without error.

        If the key has an artifact by then, that one stays: equal keys mean equal content.
        """
        ...

    async def fetch(self, key: str) -> Path:
        """A local folder with the artifact's files, to be read only. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Removes an artifact; one that is not there is removed already."""
        ...

    async def exists(self, key: str) -> bool:
        """True if the artifact is there."""
        ...


class FolderArtifacts:
    """Artifacts as folders below one folder."""

    def __init__(self, root: Path) -> None:
        """Opens nothing; `root` is made with the first artifact."""
        self._root = root

    @asynccontextmanager
    async def staged(self, key: str) -> AsyncIterator[Path]:
        """As ArtifactStore says."""
        with contextlib.suppress(AlreadyExists):  # somebody stored the same content first
            async with staging_directory(self._path(key)) as staging:
                yield staging

    async def fetch(self, key: str) -> Path:
        """As ArtifactStore says."""
        directory = self._path(key)
        if not directory.is_dir():
            raise NotFound(Reason.NOT_FOUND, f"no artifact '{key}'", resource=key)
        return directory

    async def delete(self, key: str) -> None:
        """As ArtifactStore says. A rename takes it out of sight at once; the files go after."""
        directory = self._path(key)
        doomed = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.deleted")
        try:
            directory.rename(doomed)
        except FileNotFoundError:
            return
        await asyncio.to_thread(shutil.rmtree, doomed, ignore_errors=True)

    async def exists(self, key: str) -> bool:
        """As ArtifactStore says."""
        return self._path(key).is_dir()

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or PurePosixPath(key).is_absolute() or ".." in parts:
            raise ValueError(f"artifact key {key!r} leaves its folder")
        return self._root.joinpath(*parts)


def open_artifacts(url: str) -> ArtifactStore:
    """The store at a URL: `file:///DIR`, or the path of a folder."""
    parsed = urlsplit(url)
    if parsed.scheme not in ("", "file"):
        raise ValueError(f"artifacts at '{url}': only folders (file:///DIR) are supported")
    return FolderArtifacts(Path(unquote(parsed.path)))
