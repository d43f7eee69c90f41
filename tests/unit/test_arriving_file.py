"""A file that arrives in chunks: what came is there, whatever ended it."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.errors import InvalidArgument
from servicekit.uploads import WAITING_BYTES, Announcement, ArrivingFile


async def arriving(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@given(st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=5), st.booleans())
async def test_streams_one_after_the_other_make_one_file(streams: list[list[bytes]], restarted: bool) -> None:
    content = b"".join(chunk for stream in streams for chunk in stream)
    announced = Announcement("a.bin", len(content), hashlib.sha256(content).hexdigest())
    with TemporaryDirectory() as name:
        path = Path(name) / "a"
        file = ArrivingFile(path, announced)
        for stream in streams:
            if restarted and path.exists():
                file = ArrivingFile(path, announced)
                await file.read()
            await file.take(arriving(stream))
            assert path.stat().st_size == file.size_bytes
        assert file.check() == announced.sha256
        assert not path.exists() or path.read_bytes() == content


async def test_a_cancelled_stream_leaves_all_that_came(tmp_path: Path) -> None:
    content = [bytes([number]) * 700_000 for number in range(40)]
    came = asyncio.Event()

    async def cut() -> AsyncIterator[bytes]:
        for chunk in content:
            yield chunk
        came.set()
        await asyncio.Event().wait()

    file = ArrivingFile(tmp_path / "a", Announcement("a.bin", 100_000_000))
    taking = asyncio.create_task(file.take(cut()))
    await came.wait()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert file.size_bytes == sum(map(len, content)) > 2 * WAITING_BYTES
    assert (tmp_path / "a").read_bytes() == b"".join(content)


async def test_what_came_is_written_though_no_more_comes(tmp_path: Path) -> None:
    file = ArrivingFile(tmp_path / "a", Announcement("a.bin", 100))
    end = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        for chunk in (b"01", b"23", b"45"):  # the first is being written while the others come
            yield chunk
        await end.wait()

    taking = asyncio.create_task(file.take(stalled()))
    async with asyncio.timeout(20):
        while file.size_bytes < 6:  # noqa: ASYNC110  # no event tells it
            await asyncio.sleep(0.001)
    assert (tmp_path / "a").read_bytes() == b"012345"
    end.set()
    await taking


async def test_nothing_is_written_after_a_write_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.pwrite
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail_once(descriptor: int, data: memoryview, position: int) -> int:
        if not failed.is_set() and position:
            loop.call_soon_threadsafe(failed.set)
            raise OSError(5, "Input/output error")
        return written(descriptor, data, position)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"01"
        while not (tmp_path / "a").stat().st_size:  # noqa: ASYNC110  # no event tells it
            await asyncio.sleep(0.001)
        yield b"23"
        await failed.wait()
        yield b"45"
        yield b"67"

    monkeypatch.setattr(os, "pwrite", fail_once)
    file = ArrivingFile(tmp_path / "a", Announcement("a.bin", 8))
    with pytest.raises(OSError, match="Input/output"):
        await file.take(chunks())
    assert (tmp_path / "a").read_bytes() == b"01"


async def test_what_is_more_than_announced_is_not_taken(tmp_path: Path) -> None:
    file = ArrivingFile(tmp_path / "a", Announcement("a.bin", 5))
    with pytest.raises(InvalidArgument, match=r"'a.bin' did not arrive whole: more than the announced 5 bytes"):
        await file.take(arriving([b"abc", b"def"]))
    assert (tmp_path / "a").read_bytes() == b"abc"
    with pytest.raises(InvalidArgument, match="it ended after 3 of 5 bytes"):
        file.check()


async def test_a_disk_that_refuses_leaves_what_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.pwrite

    def full(descriptor: int, data: memoryview, position: int) -> int:
        if position >= 6:
            raise OSError(28, "No space left on device")
        return written(descriptor, data[:3], position)  # a disk may take less than it was given

    monkeypatch.setattr(os, "pwrite", full)
    file = ArrivingFile(tmp_path / "a", Announcement("a.bin", 20))
    with pytest.raises(OSError, match="No space"):
        await file.take(arriving([b"0123", b"456789"]))
    assert (file.size_bytes, (tmp_path / "a").read_bytes()) == (4, b"0123")
    monkeypatch.undo()
    await file.take(arriving([b"456789"]))
    assert (tmp_path / "a").read_bytes() == b"0123456789"
