"""A file that arrives in chunks."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc

from flare_client.errors import FlareError


class Download:
    """Gathers a file beside its place and moves it there once it is whole."""

    def __init__(self, target: Path, *, overwrite: bool = True) -> None:
        """`target` is the file to write, or a folder in which the sender's name for it is taken."""
        self._target = target
        self._overwrite = overwrite
        self._announced = ("", 0, "")
        self._folder = tempfile.TemporaryDirectory(dir=target if target.is_dir() else target.parent, prefix=".flare-")
        self._file: IO[bytes] = (Path(self._folder.name) / "part").open("wb")
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._folder.cleanup()

    def begin(self, file_name: str, size_bytes: int, sha256: str) -> None:
        """Starts, or starts again, with what the sender announces.

        Raises:
            FileExistsError: There is a file in its place, which is not to be overwritten.
        """
        self._announced = (Path(file_name).name, size_bytes, sha256)
        if not self._overwrite and self._place.exists():
            raise FileExistsError(errno.EEXIST, "there is such a file already", str(self._place))
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)

    def finish(self) -> Path:
        """Puts the file in its place and returns that.

        Raises:
            FlareError: DOWNLOAD_CORRUPT, what arrived is not what was announced.
        """
        name, size_bytes, sha256 = self._announced
        arrived = self._file.tell()
        if arrived != size_bytes or self._digest.hexdigest() != sha256:
            raise FlareError(
                grpc.StatusCode.DATA_LOSS,
                "DOWNLOAD_CORRUPT",
                f"{name}: {arrived} of {size_bytes} bytes arrived, or not the announced ones: try again",
            )
        self._file.close()
        target = self._place
        Path(self._file.name).replace(target)
        return target

    @property
    def _place(self) -> Path:
        return self._target / self._announced[0] if self._target.is_dir() else self._target
