"""A scraper server is killed in the middle of an upload: what it had received is there when it is started again."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2, upload_session_pb2

from tests.server.scraper.scraper_calls import Caller
from tests.server.scraper.scraper_process import caller_at, key_set, started
from tests.tokens import TokenIssuer

pytestmark = pytest.mark.fault

ROWS = 2_000_000
ROW = b"0123456789,0.5,blue\n"
CONTENT = b"number,share,colour\n" + ROW * ROWS  # 40 MB
CHUNK_BYTES = 1 << 20
KILLS = 3


def chunks(begins: int, ends: int) -> Iterator[pb.WriteUploadRequest]:
    for at in range(begins, ends, CHUNK_BYTES):
        yield pb.WriteUploadRequest(chunk=CONTENT[at : min(at + CHUNK_BYTES, ends)])


async def received(caller: Caller, session: str) -> int:
    answer = await caller.call("GetUploadSession", pb.GetUploadSessionRequest(name=session))
    return int(answer.received_bytes)


async def killed_in_an_upload(process: asyncio.subprocess.Process, caller: Caller, session: str, ends: int) -> int:
    """Sends the bytes up to `ends`, kills the server when half of them are there, and says how many there were."""
    begins = await received(caller, session)
    halfway = (begins + ends) // 2

    async def messages() -> AsyncIterator[pb.WriteUploadRequest]:
        yield pb.WriteUploadRequest(start=pb.UploadStart(session=session, offset=begins))
        for message in chunks(begins, ends):
            yield message
        while await received(caller, session) < halfway:  # noqa: ASYNC110  # no event tells it
            await asyncio.sleep(0.01)
        process.kill()
        await asyncio.Event().wait()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.stub.WriteUpload(messages(), metadata=caller.metadata)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await process.wait()
    return halfway


async def test_an_upload_outlives_servers_that_are_killed(token_issuer: TokenIssuer, tmp_path: Path) -> None:
    announced = upload_session_pb2.UploadSession(
        file_name="numbers.csv", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )
    async with key_set(token_issuer) as keys:
        process, port = await started(tmp_path, JWKS_URL=keys)
        async with caller_at(port, token_issuer, tmp_path) as ann:
            made = await ann.call("CreateUploadSession", pb.CreateUploadSessionRequest(upload_session=announced))
        lies = tmp_path / "scraper-work" / "upload-sessions" / made.name.split("/")[1]
        for kill in range(KILLS):
            async with caller_at(port, token_issuer, tmp_path) as ann:
                ends = (kill + 1) * len(CONTENT) // (KILLS + 1)
                at_least = await killed_in_an_upload(process, ann, made.name, ends)
            kept = lies.read_bytes()
            assert len(kept) >= at_least
            assert kept == CONTENT[: len(kept)]
            process, port = await started(tmp_path, JWKS_URL=keys)
            async with caller_at(port, token_issuer, tmp_path) as ann:
                assert await received(ann, made.name) == len(kept)
        async with caller_at(port, token_issuer, tmp_path) as ann:
            start = pb.WriteUploadRequest(start=pb.UploadStart(session=made.name, offset=len(kept)))
            rest = [start, *chunks(len(kept), len(CONTENT))]
            whole = await ann.stub.WriteUpload(iter(rest), metadata=ann.metadata, timeout=60)
            assert whole.received_bytes == len(CONTENT)
            request = pb.ImportDatasetRequest(upload=source_pb2.UploadRef(session=made.name))
            job = await ann.call("ImportDataset", request)
            told = await ann.stream("WatchImportJob", pb.WatchImportJobRequest(name=job.name))
            assert told[-1].snapshot.state == job_pb2.JOB_STATE_SUCCEEDED
            dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))
            assert dataset.row_count == ROWS
            assert dataset.origin.upload.sha256 == announced.sha256
        process.terminate()
        assert await process.wait() == 0
        assert not list(lies.parent.iterdir())
