"""What can be made to go wrong, for a kind of request and a number of times."""

import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RequestKind(StrEnum):
    """The requests that the emulator tells apart."""

    LIST_DATASETS = "ListDatasets"
    LIST_FILES = "ListDatasetFiles"
    GET_DATASET = "GetDataset"
    GET_METADATA = "GetDatasetMetadata"
    GET_STATUS = "GetDatasetStatus"
    DOWNLOAD = "DownloadDataset"
    INTROSPECT = "IntrospectToken"
    STORAGE = "Storage"
    OTHER = "Other"


@dataclass(frozen=True)
class Fault:
    """One thing, or several at once, that an answer has wrong. Byte counts are of the body."""

    status: int = 0
    """Answer with this status, `headers` and `body` in place of the right answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """The API's JSON for the status, if None."""
    cut_after: int | None = None
    """Drop the connection after so many bytes; at 0 before the answer starts."""
    stall_after: int | None = None
    """Send nothing more after so many bytes, and keep the connection; at 0 before the answer starts."""
    length_delta: int = 0
    """Announce so many bytes more than there are; if negative, send so many less and announce that."""
    flip_at: int | None = None
    """Change the byte at this position."""
    chunked: bool = False
    """Announce no length."""
    unframed: bool = False
    """Announce no length, and let the end of the connection be that of the body."""
    without_hash: bool = False
    """Announce no checksum."""
    chunk_bytes: int = 64 * 1024
    """Send so many bytes at a time."""
    pause_seconds: float = 0
    """Wait so long before each chunk."""

    @staticmethod
    def rate_limited(retry_after: str | None = None) -> "Fault":
        """429, with a `Retry-After` if given."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return Fault(429, headers, b'{"code": 429, "message": "Too Many Requests"}')

    @staticmethod
    def drip(chunk_bytes: int = 1, pause_seconds: float = 0.02) -> "Fault":
        """A few bytes now and then, and no end in sight."""
        return Fault(chunk_bytes=chunk_bytes, pause_seconds=pause_seconds)

    @staticmethod
    def no_json() -> "Fault":
        """200, and JSON that ends too early."""
        return Fault(200, body=b'{"ref": "ann/num')

    @staticmethod
    def error_in_json(code: int) -> "Fault":
        """200, and an error in the body."""
        return Fault(200, body=json.dumps({"code": code, "message": "only the body says so"}).encode())

    @staticmethod
    def html(status: int = 200) -> "Fault":
        """A page where data was asked for."""
        page = b"<!DOCTYPE html><html><body>We are down for maintenance.</body></html>"
        return Fault(status, {"Content-Type": "text/html; charset=utf-8"}, page)


FOREVER = None


class FaultPlan:
    """The faults still to come, in order, for each kind of request, and of any data set or of one."""

    def __init__(self) -> None:
        self._queues: dict[tuple[RequestKind, str], deque[Fault]] = defaultdict(deque)
        self._lasting: dict[tuple[RequestKind, str], Fault] = {}

    def add(self, kind: RequestKind, fault: Fault, times: int | None, ref: str) -> None:
        """Spoils the next `times` requests of this kind, after those that are spoilt already; FOREVER: all of them.

        With a `ref` only those for this data set.
        """
        if times is FOREVER:
            self._lasting[kind, ref] = fault
        else:
            self._queues[kind, ref].extend([fault] * times)

    def take(self, kind: RequestKind, ref: str) -> Fault:
        """What is wrong with a request for a data set: nothing, in an empty `Fault`, if nothing is planned."""
        for place in ((kind, ref), (kind, "")):
            if queue := self._queues[place]:
                return queue.popleft()
            if place in self._lasting:
                return self._lasting[place]
        return Fault()
