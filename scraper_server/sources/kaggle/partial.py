"""A file on its way: the bytes that arrived, and what storage said of the whole, so that either can be gone on with."""

import fcntl
import hashlib
import json
import os
import re
import zipfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from servicekit.errors import DataLoss, Reason

HASH_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Announced:
    """What storage says of an object before its bytes."""

    validator: str
    """For `If-Range`: the object's ETag, else its date. Empty if it has neither: then no part can be gone on with."""
    total_bytes: int
    """0 if not said."""
    md5: str
    """Base64; empty if not said."""
    has_end_mark: bool = False
    """True if a cut can be told from the end, though no length is said."""

    @staticmethod
    def by(response: requests.Response) -> "Announced":
        """What the headers of an answer with the whole object say."""
        etag = response.headers.get("ETag", "")
        weak = etag.startswith("W/")  # names what looks alike, not what is equal byte for byte
        length = response.headers.get("Content-Length", "")
        return Announced(
            validator=response.headers.get("Last-Modified", "") if weak or not etag else etag,
            total_bytes=int(length) if length.isdecimal() else 0,
            md5=_md5_in(response),
            has_end_mark="chunked" in response.headers.get("Transfer-Encoding", ""),
        )

    def joined(self, response: requests.Response, size: int) -> "Announced | None":
        """This, and what an answer with the bytes from `size` on says of the whole; None if that is of another object.

        The answer before may have said less, so a checksum is taken from whichever answer has one.
        """
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span.group(1)) != size:
            return None
        total = int(span.group(2)) if span.group(2) != "*" else self.total_bytes
        md5 = _md5_in(response) or self.md5
        if self.total_bytes not in (0, total) or self.md5 not in ("", md5):
            return None
        return Announced(self.validator, total, md5, self.has_end_mark)


class Partial:
    """`part` and `part.json` in a folder. A part of the same file left there by an earlier attempt is gone on with."""

    def __init__(self, directory: Path, identity: str) -> None:
        """Raises BlockingIOError while another thread or process is at it, such as one that was told to stop."""
        self.file = directory / "part"
        self._notes = directory / "part.json"
        self._identity = identity
        self._out = self.file.open("ab")
        try:
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with its process
        except BlockingIOError:
            self._out.close()
            raise
        self.announced = self._read_notes()
        if self.announced is None:
            self._out.truncate(0)
        self.size = self.file.stat().st_size
        self._digest = hashlib.md5(usedforsecurity=False)
        self._digested = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._out.close()

    @property
    def total_bytes(self) -> int:
        """How many bytes there will be; 0 if not known."""
        return self.announced.total_bytes if self.announced is not None else 0

    @property
    def is_complete(self) -> bool:
        """Whether as many bytes are there as were announced."""
        return 0 < self.total_bytes == self.size

    def start(self, announced: Announced | None) -> None:
        """Forgets what is there; the bytes of what is announced now follow, if anything is."""
        self._out.truncate(0)
        self.size = 0
        self._digest = hashlib.md5(usedforsecurity=False)
        self._digested = 0
        self._note(announced)

    def go_on(self, announced: Announced) -> None:
        """The bytes that follow what is there come next, of the whole that is announced."""
        self._note(announced)

    def append(self, chunk: bytes) -> None:
        """Adds bytes that arrived."""
        self._out.write(chunk)
        if self._digested == self.size:  # bytes of an earlier attempt are read again at the end
            self._digest.update(chunk)
            self._digested += len(chunk)
        self.size += len(chunk)

    def verify(self, subject: str, listed_bytes: int, check: Callable[[], None]) -> None:
        """Compares what is there with what was announced. `check` is called between chunks and may raise.

        Without a checksum the size has to be the one announced and that of the listing (0: not listed), and something
        has to say where the end is. An archive, in whose place there may be the file or the reverse, has its own marks.

        Raises:
            DataLoss: DOWNLOAD_CORRUPT.
        """
        self._out.flush()
        announced = self.announced or Announced("", 0, "")
        if announced.total_bytes and self.size != announced.total_bytes:
            raise _corrupt(subject, f"{self.size} bytes arrived where {announced.total_bytes} were announced")
        if announced.md5:
            arrived = self._md5(check)
            if arrived != announced.md5:
                raise _corrupt(subject, f"its md5 is {arrived} where {announced.md5} was announced")
        elif not zipfile.is_zipfile(self.file):
            if listed_bytes and self.size != listed_bytes:
                raise _corrupt(subject, f"{self.size} bytes arrived where {listed_bytes} are listed")
            if not (announced.total_bytes or announced.has_end_mark or listed_bytes):
                raise _corrupt(subject, f"nothing says whether the {self.size} bytes that arrived are all")

    def finish(self, name: str) -> Path:
        """Gives the file its name once all of it is on the disk, and returns it."""
        self._out.flush()
        os.fsync(self._out.fileno())
        target = self.file.with_name(name)
        self.file.replace(target)
        self._notes.unlink(missing_ok=True)
        return target

    def _md5(self, check: Callable[[], None]) -> str:
        if self._digested != self.size:
            self._digest = hashlib.md5(usedforsecurity=False)
            with self.file.open("rb") as content:
                while chunk := content.read(HASH_CHUNK_BYTES):
                    check()
                    self._digest.update(chunk)
        return b64encode(self._digest.digest()).decode()

    def _note(self, announced: Announced | None) -> None:
        self.announced = announced
        if announced is None:
            self._notes.unlink(missing_ok=True)
        else:
            written = self._notes.with_suffix(".new")
            written.write_text(json.dumps({"identity": self._identity, **asdict(announced)}))
            written.replace(self._notes)

    def _read_notes(self) -> Announced | None:
        try:
            notes = json.loads(self._notes.read_text())
            same = notes.pop("identity") == self._identity
            return Announced(**notes) if same and notes["validator"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _md5_in(response: requests.Response) -> str:
    md5 = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", response.headers.get("X-Goog-Hash", ""))
    return md5.group(1) if md5 else ""


def _corrupt(subject: str, difference: str) -> DataLoss:
    return DataLoss(
        Reason.DOWNLOAD_CORRUPT,
        f"{subject} did not arrive as Kaggle announced it, twice: {difference}; import it again later",
    )
