"""How fast a file arrives in an upload session, with its sha256."""

import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import upload_session_pb2

from benchmarks.figures import Figure
from benchmarks.scraper_process import TIMEOUT_SECONDS, RunningScraper, running_scraper
from benchmarks.sizes import Sizes

CHUNK_BYTES = 4 << 20
TARGET_MEGABYTES_PER_SECOND = 500.0


def upload(sizes: Sizes) -> Figure:
    """Megabytes a second of WriteUpload, from the first byte to the answer, whose sha256 the server has compared.

    What writing the same bytes to the same disk and their sha256 take alone goes to standard error.
    """
    return asyncio.run(_measured(sizes))


async def _measured(sizes: Sizes) -> Figure:
    block = os.urandom(min(CHUNK_BYTES, sizes.upload_bytes))
    chunks = [block[: min(CHUNK_BYTES, sizes.upload_bytes - at)] for at in range(0, sizes.upload_bytes, CHUNK_BYTES)]
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        seconds, alone = [], []
        async with running_scraper(directory) as scraper:
            for run in range(sizes.runs):
                session = await _session(scraper, f"{run}.csv", sizes.upload_bytes, digest.hexdigest())
                began = time.perf_counter()
                ended = await scraper.stub.WriteUpload(
                    _messages(session.name, chunks), metadata=scraper.metadata, timeout=TIMEOUT_SECONDS
                )
                seconds.append(time.perf_counter() - began)
                assert ended.received_bytes == sizes.upload_bytes
                request = pb.DeleteUploadSessionRequest(name=session.name)
                await scraper.stub.DeleteUploadSession(request, metadata=scraper.metadata)
                alone.append(await asyncio.to_thread(_alone, directory / "alone", chunks))
    megabytes = sizes.upload_bytes / 1e6
    sys.stderr.write(f"writing and sha256 alone: {megabytes / statistics.median(alone):.0f} MB/s\n")
    rate = megabytes / statistics.median(seconds)
    return Figure.of_rate("upload", rate, "MB/s", "the target of 500 MB/s", TARGET_MEGABYTES_PER_SECOND)


async def _session(
    scraper: RunningScraper, file_name: str, size_bytes: int, sha256: str
) -> upload_session_pb2.UploadSession:
    wanted = upload_session_pb2.UploadSession(file_name=file_name, size_bytes=size_bytes, sha256=sha256)
    request = pb.CreateUploadSessionRequest(upload_session=wanted)
    return await scraper.stub.CreateUploadSession(request, metadata=scraper.metadata)


def _messages(session: str, chunks: list[bytes]) -> Iterator[pb.WriteUploadRequest]:
    yield pb.WriteUploadRequest(start=pb.UploadStart(session=session))
    for chunk in chunks:
        yield pb.WriteUploadRequest(chunk=chunk)


def _alone(path: Path, chunks: list[bytes]) -> float:
    """Seconds to write the chunks and hash them, one after the other."""
    began = time.perf_counter()
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    return time.perf_counter() - began
