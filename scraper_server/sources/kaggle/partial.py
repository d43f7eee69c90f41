"""A file on its way: the bytes that arrived, and what storage said of the whole, so that either can be gone on with."""

import hashlib
import json
import re
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

    @staticmethod
    def by(response: requests.Response, listed_bytes: int) -> "Announced":
        """What the headers of an answer with the whole object say.

        A body without length, checksum and end mark could be cut unseen, so its size has to be that of the listing.
        """
        etag = response.headers.get("ETag", "")
        weak = etag.startswith("W/")  # names what looks alike, not what is equal byte for byte
        length = response.headers.get("Content-Length", "")
        is_marked = "chunked" in response.headers.get("Transfer-Encoding", "")
        md5 = _md5_in(response)
        return Announced(
            validator=response.headers.get("Last-Modified", "") if weak or not etag else etag,
            total_bytes=int(length) if length.isdecimal() else (0 if md5 or is_marked else listed_bytes),
            md5=md5,
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
        return Announced(self.validator, total, md5)


class Partial:
    """`part` and `part.json` in a folder. A part of the same file left there by an earlier attempt is gone on with."""

    def __init__(self, directory: Path, identity: str) -> None:
        self.file = directory / "part"
        self._notes = directory / "part.json"
        self._identity = identity
        self.announced = self._read_notes()
        if self.announced is None:
            self.file.write_bytes(b"")
        self.size = self.file.stat().st_size
        self._out = self.file.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._out.close()

    @property
    def is_complete(self) -> bool:
        """Whether as many bytes are there as were announced."""
        return self.announced is not None and 0 < self.announced.total_bytes == self.size

    def start(self, announced: Announced | None) -> None:
        """Forgets what is there; the bytes of what is announced now follow, if anything is."""
        self._out.truncate(0)
        self.size = 0
        self._note(announced)

    def go_on(self, announced: Announced) -> None:
        """The bytes that follow what is there come next, of the whole that is announced."""
        self._note(announced)

    def append(self, chunk: bytes) -> None:
        """Adds bytes that arrived."""
        self._out.write(chunk)
        self.size += len(chunk)

    def verify(self, subject: str, check: Callable[[], None]) -> None:
        """Compares what is there with what was announced. `check` is called between chunks and may raise.

        Raises:
            DataLoss: DOWNLOAD_CORRUPT.
        """
        self._out.flush()
        announced = self.announced or Announced("", 0, "")
        if announced.total_bytes and self.size != announced.total_bytes:
            raise _corrupt(subject, f"{self.size} bytes arrived where {announced.total_bytes} were announced")
        if announced.md5:
            digest = hashlib.md5(usedforsecurity=False)
            with self.file.open("rb") as content:
                while chunk := content.read(HASH_CHUNK_BYTES):
                    check()
                    digest.update(chunk)
            arrived = b64encode(digest.digest()).decode()
            if arrived != announced.md5:
                raise _corrupt(subject, f"its md5 is {arrived} where {announced.md5} was announced")

    def finish(self, name: str) -> Path:
        """Gives the file its name, and returns it."""
        self._out.close()
        target = self.file.with_name(name)
        self.file.replace(target)
        self._notes.unlink(missing_ok=True)
        return target

    def _note(self, announced: Announced | None) -> None:
        self.announced = announced
        if announced is None:
            self._notes.unlink(missing_ok=True)
        else:
            self._notes.write_text(json.dumps({"identity": self._identity, **asdict(announced)}))

    def _read_notes(self) -> Announced | None:
        try:
            notes = json.loads(self._notes.read_text())
            same = notes.pop("identity") == self._identity and self.file.exists()
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
