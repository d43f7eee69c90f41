"""The scraper service as batch predictions call it: sends a file, and has a data set made of it."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import grpc
import stamina
from flare.common.v1 import job_pb2
from flare.scraper.v1 import import_job_pb2, scraper_service_pb2_grpc, source_pb2, upload_session_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from google.protobuf.message import Message

from ml_server.views.scraper import CALL_SECONDS, Metadata, named_error
from servicekit.errors import Aborted, FailedPrecondition, FlareError, Reason, Unavailable
from servicekit.rpc.client import told_error

Told = Callable[[str, int, int], Awaitable[None]]
Method = Callable[..., Awaitable[Any]]

CHUNK_BYTES = 1 << 20
# The same job asks for the same session and the same import: after a kill it goes on with what is there.
SAME_JOB = UUID("9c0a2b3c-6f0e-4a8f-9a55-0d4a1d7b1f10")
ATTEMPTS = 10
PATIENCE_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 10.0
FINAL = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})


class DatasetUploads:
    """Makes data sets for the owners of jobs."""

    def __init__(self, channel: grpc.aio.Channel, acting_for: Callable[[str], Awaitable[Metadata]]) -> None:
        """`acting_for` gives the metadata of a call for an owner."""
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(channel)
        self._acting_for = acting_for

    async def upload(self, owner: str, job: str, file: Path, file_name: str, told: Told) -> str:
        """Sends a file and returns its session. What an earlier try has sent is not sent again.

        `told` is called with the session, its bytes so far, and those of the file.

        Raises:
            FlareError: What the scraper service says, such as QUOTA_EXCEEDED; Unavailable, if it does not answer.
        """
        sha256, size = await asyncio.to_thread(_sha256_and_size, file)
        wanted = upload_session_pb2.UploadSession(file_name=file_name, size_bytes=size, sha256=sha256)
        begin = pb.CreateUploadSessionRequest(
            upload_session=wanted, request_id=str(uuid5(SAME_JOB, f"{owner} {job} {sha256}"))
        )
        session: upload_session_pb2.UploadSession = await self._call(owner, self._stub.CreateUploadSession, begin)
        await told(session.name, session.received_bytes, session.size_bytes)
        async for attempt in _retried():
            with attempt:
                seen = pb.GetUploadSessionRequest(name=session.name)
                session = await self._call(owner, self._stub.GetUploadSession, seen)
                if session.received_bytes < session.size_bytes:
                    session = await self._write(owner, session, file, told)
        await told(session.name, session.received_bytes, session.size_bytes)
        return session.name

    async def make(self, owner: str, job: str, session: str, dataset_id: str, display_name: str) -> str:
        """Has a data set made of a session's file, waits until it is there, and returns its name.

        Raises:
            FlareError: It can't be made, such as NAME_TAKEN; Unavailable, if the scraper service does not answer.
        """
        begun = await self._begin(owner, job, session, dataset_id, display_name)
        found = await self._ended(owner, begun.name)
        if found.state == job_pb2.JOB_STATE_FAILED:
            raise told_error(found.error) or _unavailable(f"{found.name} failed: {found.error.message}")
        if found.state == job_pb2.JOB_STATE_CANCELLED:
            raise Aborted(Reason.JOB_ENDED, f"somebody cancelled {found.name}, which was to make the data set")
        return found.dataset

    async def discard(self, owner: str, job: str, session: str, dataset_id: str, display_name: str) -> None:
        """Leaves nothing of a file whose data set is being made, or is there: by `make` with the same arguments.

        Raises:
            Unavailable: The scraper service does not answer.
        """
        try:
            found = await self._begin(owner, job, session, dataset_id, display_name)
            with contextlib.suppress(FailedPrecondition):  # it has ended
                await self._call(owner, self._stub.CancelImportJob, pb.CancelImportJobRequest(name=found.name))
            found = await self._ended(owner, found.name)
            if found.state == job_pb2.JOB_STATE_SUCCEEDED:
                await self._call(owner, self._stub.DeleteDataset, pb.DeleteDatasetRequest(name=found.dataset))
        except Unavailable:
            raise
        except FlareError:  # there was no import of it, or somebody uses or has deleted its data set
            pass
        await self.discard_session(owner, session)

    async def discard_session(self, owner: str, session: str) -> None:
        """Removes a session. One that can't be removed now goes by itself in time."""
        with contextlib.suppress(FlareError):
            await self._call(owner, self._stub.DeleteUploadSession, pb.DeleteUploadSessionRequest(name=session))

    async def _begin(
        self, owner: str, job: str, session: str, dataset_id: str, display_name: str
    ) -> import_job_pb2.ImportJob:
        request = pb.ImportDatasetRequest(
            upload=source_pb2.UploadRef(session=session),
            dataset_id=dataset_id,
            display_name=display_name,
            request_id=str(uuid5(SAME_JOB, f"{owner} {job} {session}")),
        )
        found: import_job_pb2.ImportJob = await self._call(owner, self._stub.ImportDataset, request)
        return found

    async def _call(self, owner: str, method: Method, request: Message) -> Any:
        async for attempt in _retried():
            with attempt:
                metadata = await self._acting_for(owner)
                try:
                    return await method(request, metadata=metadata, timeout=CALL_SECONDS)
                except grpc.aio.AioRpcError as error:
                    raise named_error(error) from error
        raise AssertionError("retries end with an answer or an error")

    async def _write(
        self, owner: str, session: upload_session_pb2.UploadSession, file: Path, told: Told
    ) -> upload_session_pb2.UploadSession:
        """Sends what is missing, in one stream."""
        messages = _Messages(session, file, told)
        try:
            metadata = await self._acting_for(owner)
            written: upload_session_pb2.UploadSession = await self._stub.WriteUpload(aiter(messages), metadata=metadata)
        except BaseException as error:
            if messages.failure is not None:
                raise messages.failure from None
            if isinstance(error, grpc.aio.AioRpcError):
                raise named_error(error) from error
            raise
        return written

    async def _ended(self, owner: str, name: str) -> import_job_pb2.ImportJob:
        """Follows an import to its end."""
        found = import_job_pb2.ImportJob()
        async for attempt in _retried():
            with attempt:
                request, metadata = pb.WatchImportJobRequest(name=name), await self._acting_for(owner)
                try:
                    async for message in self._stub.WatchImportJob(request, metadata=metadata):
                        if message.HasField("snapshot"):
                            found = message.snapshot
                except grpc.aio.AioRpcError as error:
                    raise named_error(error) from error
                if found.state not in FINAL:
                    raise _unavailable(f"the scraper service stopped telling of {name}")
        return found


class _Messages:
    """The messages that send the rest of a file."""

    def __init__(self, session: upload_session_pb2.UploadSession, file: Path, told: Told) -> None:
        self._session = session
        self._file = file
        self._told = told
        self.failure: Exception | None = None
        """Why they ended too early: gRPC tells of that as of a call that was cancelled."""

    async def __aiter__(self) -> AsyncIterator[pb.WriteUploadRequest]:
        try:
            async for message in self._made():
                yield message
        except Exception as failure:
            self.failure = failure
            raise

    async def _made(self) -> AsyncIterator[pb.WriteUploadRequest]:
        session, sent = self._session, self._session.received_bytes
        yield pb.WriteUploadRequest(start=pb.UploadStart(session=session.name, offset=sent))
        with await asyncio.to_thread(self._file.open, "rb") as opened:
            opened.seek(sent)
            while chunk := await asyncio.to_thread(opened.read, CHUNK_BYTES):
                yield pb.WriteUploadRequest(chunk=chunk)
                sent += len(chunk)
                await self._told(session.name, sent, session.size_bytes)


def _retried() -> AsyncIterator[stamina.Attempt]:
    return stamina.retry_context(
        on=_may_go_on, attempts=ATTEMPTS, timeout=PATIENCE_SECONDS, wait_max=LONGEST_WAIT_SECONDS
    ).__aiter__()


def _may_go_on(error: Exception) -> bool:
    # What was on its way when a stream broke may have arrived after the service was asked for its size.
    return isinstance(error, Unavailable) or (
        isinstance(error, FlareError) and error.reason in (Reason.TOKEN_EXPIRED, Reason.UPLOAD_OFFSET_MISMATCH)
    )


def _unavailable(message: str) -> Unavailable:
    return Unavailable(Reason.DEPENDENCY_UNAVAILABLE, message)


def _sha256_and_size(file: Path) -> tuple[str, int]:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest(), file.stat().st_size
