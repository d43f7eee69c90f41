"""Upload sessions: what has arrived is kept, whatever ends a stream, and becomes a data set once it is whole."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from flare.common.v1 import job_pb2
from flare.scraper.v1 import dataset_pb2, import_job_pb2, source_pb2, upload_session_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.scraper.scraper_calls import PASSENGERS, Caller, Refusal, Server, refusal_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="session")
CONTENT = PASSENGERS.encode()
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def begun(caller: Caller, content: bytes = CONTENT, **more: Any) -> upload_session_pb2.UploadSession:
    """A session for the content."""
    wanted = upload_session_pb2.UploadSession(
        file_name="passengers.csv", size_bytes=len(content), sha256=sha256(content)
    )
    wanted.MergeFrom(upload_session_pb2.UploadSession(**more))
    session: upload_session_pb2.UploadSession = await caller.call(
        "CreateUploadSession", pb.CreateUploadSessionRequest(upload_session=wanted)
    )
    return session


def messages(session: str, offset: int, content: bytes, chunk: int = 65_536) -> Iterator[pb.WriteUploadRequest]:
    """A stream that sends the content, which begins at the offset."""
    yield pb.WriteUploadRequest(start=pb.UploadStart(session=session, offset=offset))
    for at in range(0, len(content), chunk):
        yield pb.WriteUploadRequest(chunk=content[at : at + chunk])


async def written(
    caller: Caller, session: str, offset: int, content: bytes, chunk: int = 65_536
) -> upload_session_pb2.UploadSession:
    """The session after such a stream."""
    stream = messages(session, offset, content, chunk)
    answer: upload_session_pb2.UploadSession = await caller.stub.WriteUpload(
        stream, metadata=caller.metadata, timeout=30
    )
    return answer


async def write_refused(caller: Caller, session: str, offset: int, content: bytes) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await written(caller, session, offset, content)
    return caught.value


async def received(caller: Caller, session: str) -> int:
    answer = await caller.call("GetUploadSession", pb.GetUploadSessionRequest(name=session))
    return int(answer.received_bytes)


async def imported(caller: Caller, session: str, **more: Any) -> import_job_pb2.ImportJob:
    """The import job of a session, once it has ended."""
    request = pb.ImportDatasetRequest(upload=source_pb2.UploadRef(session=session), **more)
    job = await caller.call("ImportDataset", request)
    told = await caller.stream("WatchImportJob", pb.WatchImportJobRequest(name=job.name))
    ended: import_job_pb2.ImportJob = told[-1].snapshot
    return ended


class Cut:
    """A stream that sends the content and then nothing, until it is cut."""

    def __init__(self, caller: Caller, session: str, offset: int, content: bytes) -> None:
        self._stream = messages(session, offset, content)
        self._caller = caller
        self._session = session
        self._expected = offset + len(content)
        self._end = asyncio.Event()
        self.call = caller.stub.WriteUpload(self._messages(), metadata=caller.metadata)

    async def arrived(self) -> None:
        """Waits until the server has written all that was sent."""
        async with asyncio.timeout(20):
            while await received(self._caller, self._session) < self._expected:  # noqa: ASYNC110  # no event tells it
                await asyncio.sleep(0.01)

    async def cut(self) -> None:
        """As a lost connection does."""
        self.call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.call

    async def _messages(self) -> AsyncIterator[pb.WriteUploadRequest]:
        for message in self._stream:
            yield message
        await self._end.wait()


async def test_a_file_that_was_cut_twice_becomes_a_data_set(ann: Caller) -> None:
    session = await begun(ann, file_name="/home/ann/My Passengers.csv")
    assert session.file_name == "My Passengers.csv"
    assert session.received_bytes == 0
    stream = Cut(ann, session.name, 0, CONTENT[:100])
    await stream.arrived()
    await stream.cut()
    assert (await written(ann, session.name, 100, CONTENT[100:107])).received_bytes == 107
    done = await written(ann, session.name, 107, CONTENT[107:])
    assert done.received_bytes == done.size_bytes == len(CONTENT)
    assert done.expire_time.ToSeconds() > session.expire_time.ToSeconds() - 1
    job = await imported(ann, session.name)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert job.origin.upload == source_pb2.UploadedFile(
        file_name="My Passengers.csv", size_bytes=len(CONTENT), sha256=sha256(CONTENT)
    )
    assert job.dataset == "datasets/my-passengers"
    dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))
    assert dataset.digest == (await ann.uploaded()).digest
    assert dataset.origin == job.origin
    assert dataset.display_name == "My Passengers.csv"
    assert (await ann.refused("GetUploadSession", pb.GetUploadSessionRequest(name=session.name))).reason == "NOT_FOUND"


@settings(max_examples=15, deadline=None)
@given(content=st.binary(min_size=1, max_size=200_000), cuts=st.lists(st.floats(0, 1), max_size=4), data=st.data())
async def test_any_cuts_make_the_same_file(scraper: Server, content: bytes, cuts: list[float], data: Any) -> None:
    ann = scraper.caller()
    session = await begun(ann, content)
    at = 0
    for cut in [*sorted(int(cut * len(content)) for cut in cuts), len(content)]:
        wrong = at + data.draw(st.integers(1, 2 * len(content)))
        error = await write_refused(ann, session.name, wrong, b"anything")
        assert refusal_of(error).reason == "UPLOAD_OFFSET_MISMATCH"
        answer = await written(ann, session.name, at, content[at:cut], data.draw(st.integers(1_000, 100_000)))
        at = answer.received_bytes
        assert at == cut
    lies = list(scraper.directory.glob(f"**/upload-sessions/{session.name.split('/')[1]}"))
    assert [path.read_bytes() for path in lies] == [content]


async def test_a_wrong_offset_is_told_the_right_one(ann: Caller) -> None:
    session = await begun(ann)
    await written(ann, session.name, 0, CONTENT[:50])
    error = await write_refused(ann, session.name, 40, CONTENT[40:])
    text = f"the bytes begin at 40, but those of '{session.name}' end at 50: go on there"
    assert refusal_of(error) == Refusal(
        grpc.StatusCode.OUT_OF_RANGE, "UPLOAD_OFFSET_MISMATCH", text, ("start.offset",), {"received_bytes": "50"}
    )
    assert await received(ann, session.name) == 50


async def test_a_second_stream_ends_the_first_and_goes_on_where_it_stopped(ann: Caller) -> None:
    session = await begun(ann)
    first = Cut(ann, session.name, 0, CONTENT[:60])
    await first.arrived()
    second = Cut(ann, session.name, 60, CONTENT[60:80])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await first.call
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_TAKEN_OVER")
    await second.arrived()
    assert (await written(ann, session.name, 80, CONTENT[80:])).received_bytes == len(CONTENT)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await second.call
    assert refusal_of(caught.value).reason == "UPLOAD_TAKEN_OVER"
    assert (await imported(ann, session.name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_many_streams_at_once_leave_one_whole_file(ann: Caller) -> None:
    content = b"a,b\n" + b"1,2\n" * 200_000
    session = await begun(ann, content)
    outcomes = await asyncio.gather(
        *(written(ann, session.name, 0, content, 10_000) for _ in range(6)), return_exceptions=True
    )
    errors = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    # gRPC's client itself says INTERNAL if it was just writing when the server ended its stream.
    refused = [refusal_of(each).reason for each in errors if each.code() is not grpc.StatusCode.INTERNAL]
    assert set(refused) <= {"UPLOAD_TAKEN_OVER", "UPLOAD_OFFSET_MISMATCH"}
    at = await received(ann, session.name)
    assert (await written(ann, session.name, at, content[at:])).received_bytes == len(content)
    assert (await imported(ann, session.name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_file_with_another_sha256_is_dropped_and_can_be_sent_again(ann: Caller) -> None:
    session = await begun(ann)
    wrong = CONTENT.replace(b"male", b"mala")
    refusal = refusal_of(await write_refused(ann, session.name, 0, wrong))
    assert (refusal.code, refusal.reason) == (INVALID, "UPLOAD_INCOMPLETE")
    assert f"its sha256 is {sha256(wrong)}, not the announced {sha256(CONTENT)}" in refusal.text
    assert await received(ann, session.name) == 0
    await written(ann, session.name, 0, CONTENT)
    assert (await imported(ann, session.name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_more_bytes_than_announced_are_refused_and_those_before_are_kept(ann: Caller) -> None:
    session = await begun(ann, CONTENT[:100])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await written(ann, session.name, 0, CONTENT, chunk=60)
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (INVALID, "UPLOAD_INCOMPLETE")
    assert "more than the announced 100 bytes arrived" in refusal.text
    assert await received(ann, session.name) == 60


async def test_a_file_that_is_not_whole_is_not_imported(ann: Caller) -> None:
    session = await begun(ann)
    await written(ann, session.name, 0, CONTENT[:50])
    request = pb.ImportDatasetRequest(upload=source_pb2.UploadRef(session=session.name))
    refusal = await ann.refused("ImportDataset", request)
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "UPLOAD_INCOMPLETE", ("upload.session",))
    assert f"has 50 of the {len(CONTENT)} bytes" in refusal.text


async def test_a_file_that_could_not_be_read_can_be_imported_in_another_format(ann: Caller) -> None:
    content = PASSENGERS.encode("utf-16")
    session = await begun(ann, content)
    await written(ann, session.name, 0, content)
    failed = await imported(ann, session.name, format=dataset_pb2.FileFormat(kind=dataset_pb2.FileFormat.KIND_PARQUET))
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert await received(ann, session.name) == len(content)
    job = await imported(ann, session.name, format=dataset_pb2.FileFormat(encoding="utf-16"))
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert (await ann.refused("GetUploadSession", pb.GetUploadSessionRequest(name=session.name))).reason == "NOT_FOUND"


async def test_sessions_of_others_do_not_exist(ann: Caller, bob: Caller) -> None:
    session = await begun(ann)
    for method, request in (
        ("GetUploadSession", pb.GetUploadSessionRequest(name=session.name)),
        ("DeleteUploadSession", pb.DeleteUploadSessionRequest(name=session.name)),
        ("ImportDataset", pb.ImportDatasetRequest(upload=source_pb2.UploadRef(session=session.name))),
    ):
        refusal = await bob.refused(method, request)
        assert refusal == Refusal(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", f"no upload session '{session.name}'")
    error = await write_refused(bob, session.name, 0, CONTENT)
    assert refusal_of(error).text == f"no upload session '{session.name}'"
    await written(ann, session.name, 0, CONTENT)


async def test_a_repeated_request_returns_its_session_until_that_is_gone(ann: Caller) -> None:
    announced = upload_session_pb2.UploadSession(file_name="a.csv", size_bytes=8)
    request = pb.CreateUploadSessionRequest(upload_session=announced, request_id=str(uuid.uuid4()))
    first = await ann.call("CreateUploadSession", request)
    await written(ann, first.name, 0, b"a,b\n")
    again = await ann.call("CreateUploadSession", request)
    assert (again.name, again.received_bytes) == (first.name, 4)
    other = pb.CreateUploadSessionRequest(upload_session=announced, request_id=request.request_id)
    other.upload_session.size_bytes = 9
    assert (await ann.refused("CreateUploadSession", other)).reason == "REQUEST_ID_REUSED"
    await ann.call("DeleteUploadSession", pb.DeleteUploadSessionRequest(name=first.name))
    assert (await ann.call("CreateUploadSession", request)).name != first.name
    request.request_id = str(uuid.uuid4())
    made = await asyncio.gather(*(ann.call("CreateUploadSession", request) for _ in range(4)))
    assert len({session.name for session in made}) == 1


async def test_a_session_that_is_deleted_ends_its_stream_and_leaves_nothing(scraper: Server, ann: Caller) -> None:
    session = await begun(ann)
    stream = Cut(ann, session.name, 0, CONTENT[:60])
    await stream.arrived()
    await ann.call("DeleteUploadSession", pb.DeleteUploadSessionRequest(name=session.name))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.call
    assert refusal_of(caught.value).reason == "UPLOAD_TAKEN_OVER"
    assert not list(scraper.directory.glob(f"**/{session.name.split('/')[1]}"))


async def test_a_file_over_the_limit_is_refused_when_it_is_announced(ann: Caller) -> None:
    announced = upload_session_pb2.UploadSession(file_name="a.csv", size_bytes=4_000_001)
    refusal = await ann.refused("CreateUploadSession", pb.CreateUploadSessionRequest(upload_session=announced))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")


@pytest.mark.parametrize(
    ("stream", "field"),
    [
        ([], "start"),
        ([pb.WriteUploadRequest(chunk=b"a,b\n")], "start"),
        ([pb.WriteUploadRequest(start=pb.UploadStart(session="uploadSessions/NO"))], "start.session"),
        ([pb.WriteUploadRequest()], "message"),
    ],
)
async def test_messages_out_of_order_are_refused(ann: Caller, stream: list[pb.WriteUploadRequest], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ann.stub.WriteUpload(iter(stream), metadata=ann.metadata, timeout=30)
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "INVALID_FIELD", (field,))


async def test_a_chunk_longer_than_the_contract_allows_is_refused(ann: Caller) -> None:
    session = await begun(ann)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await written(ann, session.name, 0, bytes(4_194_305), chunk=4_194_305)
    assert refusal_of(caught.value).fields == ("chunk",)
