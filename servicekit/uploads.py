"""Takes a file that a caller sends in chunks, and holds it against what was announced."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from servicekit.errors import InvalidArgument, Reason, ResourceExhausted
from servicekit.waiting import uninterrupted

Bytes = bytes | memoryview
# Read before they are written: enough to keep the disk busy while more arrives, little enough for many uploads at once.
WAITING_BYTES = 8 * 1024**2
HASHED_BYTES = 4 * 1024**2
"""How many bytes of a file that is there are hashed before a cancelled task can leave."""


@dataclass(frozen=True)
class Announcement:
    """What is said of a file beforehand. `sha256` is hexadecimal, or empty if the sender does not know it."""

    file_name: str
    size_bytes: int
    sha256: str = ""


class ArrivingFile:
    """A file that grows by chunks, and the sha256 of all it holds. One task at a time may change it.

    Whatever ends the chunks, those that came are in the file when `take` ends.
    """

    def __init__(self, path: Path, announced: Announcement, remedy: str = "nothing is kept, send it again") -> None:
        """Nothing is at `path`, or a file whose bytes `read` takes into account. `remedy` ends the messages."""
        self._path = path
        self._announced = announced
        self._remedy = remedy
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def is_whole(self) -> bool:
        """True if all bytes are there."""
        return self.size_bytes == self._announced.size_bytes

    async def read(self, progress: Callable[[int], object] = lambda _: None) -> None:
        """Takes the bytes into account that are in the file already. `progress` is told how many were read so far."""
        with self._path.open("rb") as file:
            while await uninterrupted(asyncio.to_thread(self._read_from, file.fileno())):
                progress(self.size_bytes)

    async def take(self, chunks: AsyncIterator[Bytes]) -> None:
        """Appends the chunks as they come. They are written and hashed in a thread while the next ones arrive.

        Raises:
            InvalidArgument: UPLOAD_INCOMPLETE, if they are more than announced; those before are kept.
        """
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        writing = _Writing(partial(self._append, descriptor))
        count = self.size_bytes
        try:
            async for chunk in chunks:
                count += len(chunk)
                if count > self._announced.size_bytes:
                    raise self._incomplete(f"more than the announced {self._announced.size_bytes} bytes arrived")
                writing.add(chunk)
                await writing.room()
        finally:
            try:
                await uninterrupted(writing.end())
            finally:
                os.close(descriptor)

    async def sync(self) -> None:
        """Returns once the bytes are on the disk."""
        await asyncio.to_thread(self._sync)

    def check(self) -> str:
        """The sha256, hexadecimal.

        Raises:
            InvalidArgument: UPLOAD_INCOMPLETE, if the file is not what was announced.
        """
        if not self.is_whole:
            raise self._incomplete(f"it ended after {self.size_bytes} of {self._announced.size_bytes} bytes")
        found = self._digest.hexdigest()
        if self._announced.sha256 not in ("", found):
            raise self._incomplete(f"its sha256 is {found}, not the announced {self._announced.sha256}")
        return found

    def _append(self, descriptor: int, chunks: Sequence[Bytes]) -> None:
        for chunk in chunks:
            left, position = memoryview(chunk), self.size_bytes
            try:
                while left:
                    count = os.pwrite(descriptor, left, position)
                    left, position = left[count:], position + count
            except OSError:  # such as a full disk: what was not hashed is not kept
                os.ftruncate(descriptor, self.size_bytes)
                raise
            self._digest.update(chunk)
            self.size_bytes = position

    def _read_from(self, descriptor: int) -> int:
        block = os.pread(descriptor, HASHED_BYTES, self.size_bytes)
        self._digest.update(block)
        self.size_bytes += len(block)
        return len(block)

    def _sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _incomplete(self, problem: str) -> InvalidArgument:
        name = self._announced.file_name
        message = f"file '{name}' did not arrive whole: {problem}; {self._remedy}"
        return InvalidArgument(Reason.UPLOAD_INCOMPLETE, message, file=name)


class _Writing:
    """Writes chunks in a thread, one batch at a time: those that came while the one before was written."""

    def __init__(self, write: Callable[[Sequence[Bytes]], None]) -> None:
        self._write = write
        self._waiting: list[Bytes] = []
        self._under_way: asyncio.Future[None] | None = None

    def add(self, chunk: Bytes) -> None:
        """Has it written, at once if nothing else is."""
        self._waiting.append(chunk)
        self._go_on()

    async def room(self) -> None:
        """Returns when not too much waits. Raises what a write raised: after that nothing more is written."""
        while self._under_way is not None:
            if self._under_way.done():
                self._under_way.result()
                self._go_on()
            if sum(map(len, self._waiting)) < WAITING_BYTES:
                return
            await asyncio.wait([self._under_way])

    async def end(self) -> None:
        """Returns when all is written. Raises what a write raised."""
        while self._under_way is not None:
            batch = self._under_way
            await asyncio.wait([batch])
            batch.result()
            self._go_on()
            if self._under_way is batch:
                return

    def _go_on(self, *_: object) -> None:
        before = self._under_way
        if before is not None and (not before.done() or before.exception() is not None):
            return
        if self._waiting:
            batch, self._waiting = self._waiting, []
            self._under_way = asyncio.ensure_future(asyncio.to_thread(self._write, batch))
            self._under_way.add_done_callback(self._go_on)


async def receive_file(path: Path, announced: Announcement, chunks: AsyncIterator[Bytes]) -> str:
    """Writes the chunks to `path` and returns their sha256, hexadecimal. What is left of a refused file is the
    caller's to remove.

    Raises:
        InvalidArgument: UPLOAD_INCOMPLETE, if they are not what was announced.
    """
    file = ArrivingFile(path, announced)
    await file.take(chunks)
    return file.check()


def refuse_larger(announced: Announcement, max_bytes: int, reason: Reason, setting: str) -> None:
    """Raises ResourceExhausted for the reason if the file is larger than the setting allows."""
    if announced.size_bytes > max_bytes:
        raise ResourceExhausted(
            reason,
            f"file '{announced.file_name}' has {announced.size_bytes} bytes, more than the {max_bytes} that this "
            f"server takes ({setting})",
            limit=str(max_bytes),
        )
