# Made from flare_client/aio/uploads.py by tools/make_sync_client.py: edit that, then run this.
"""Sends a file in an upload session: it goes on where it stopped, also in another process and after days."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID, uuid5

from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import scraper_service_pb2_grpc, upload_session_pb2

from flare_client.backoff import Patience
from flare_client.errors import FlareError, is_interruption
from flare_client.sync.runtime import sleep
from flare_client.sync.service import REATTACH_SECONDS, OnInterruption, Service
from flare_client.tables.files import Content

OnProgress = Callable[[int, int], object]

# The same file asks for the same session, whoever sends it and from wherever: its owner goes on with what is there.
SAME_FILE = UUID("0f7a4d0e-3f0b-4a55-9d51-0c9b7f3a6a11")


class Upload:
    """A file on its way to the server."""

    def __init__(self, service: Service, content: Content) -> None:
        self._service = service
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(service.channel)
        self._content = content
        self._failure: Exception | None = None

    def send(
        self, on_progress: OnProgress | None = None, on_interruption: OnInterruption | None = None
    ) -> upload_session_pb2.UploadSession:
        """Sends what the server has not yet, and returns the session, which has the whole file then.

        A broken connection, a restarted server and an ended token only cost time: `on_interruption` is called with the
        cause each time. `on_progress` is called with the bytes sent and the bytes in all.

        Raises:
            FlareError: The server refused, such as QUOTA_EXCEEDED, or could not be reached for 10 minutes.
            OSError: The file can't be read, or is not what it was when this began.
        """
        session = self._begun()
        patience = Patience(REATTACH_SECONDS)
        while session.received_bytes < session.size_bytes:
            begins = session.received_bytes
            try:
                session = self._written(session, on_progress)
            except FlareError as error:
                wait = patience.next_wait(error.retry_after) if _may_go_on(error) else None
                if wait is None:
                    raise
                if on_interruption is not None:
                    on_interruption(error)
                sleep(wait)
                session = self._seen(session, patience)
            if session.received_bytes > begins:
                patience.succeeded()
        if on_progress is not None:
            on_progress(session.received_bytes, session.size_bytes)
        return session

    def _begun(self) -> upload_session_pb2.UploadSession:
        file = self._content
        wanted = upload_session_pb2.UploadSession(
            file_name=file.file_name, size_bytes=file.size_bytes, sha256=file.sha256
        )
        request_id = uuid5(SAME_FILE, f"{file.sha256} {file.size_bytes} {file.file_name}")
        request = pb.CreateUploadSessionRequest(upload_session=wanted, request_id=str(request_id))
        return self._service.call(self._stub.CreateUploadSession, request, safe=True)

    def _written(
        self, session: upload_session_pb2.UploadSession, on_progress: OnProgress | None
    ) -> upload_session_pb2.UploadSession:
        try:
            return self._service.send(self._stub.WriteUpload, lambda: self._messages(session, on_progress), safe=False)
        except BaseException:  # gRPC tells of a request that can't be made as of a call that failed, or was cancelled
            if self._failure is not None:
                raise self._failure from None
            raise

    def _seen(self, session: upload_session_pb2.UploadSession, patience: Patience) -> upload_session_pb2.UploadSession:
        """The session as the server has it, once it answers."""
        request = pb.GetUploadSessionRequest(name=session.name)
        while True:
            try:
                return self._service.call(self._stub.GetUploadSession, request, safe=True)
            except FlareError as error:
                wait = patience.next_wait(error.retry_after) if is_interruption(error) else None
                if wait is None:
                    raise
            sleep(wait)

    def _messages(
        self, session: upload_session_pb2.UploadSession, on_progress: OnProgress | None
    ) -> Iterator[pb.WriteUploadRequest]:
        sent = session.received_bytes
        yield pb.WriteUploadRequest(start=pb.UploadStart(session=session.name, offset=sent))
        try:
            for chunk in self._content.chunks(sent):
                yield pb.WriteUploadRequest(chunk=chunk)
                sent += len(chunk)
                if on_progress is not None:
                    on_progress(sent, session.size_bytes)
            if sent < session.size_bytes:
                raise OSError(f"'{self._content.file_name}' ended after {sent} of {session.size_bytes} bytes")
        except Exception as failure:  # gRPC would not say more than that there was one
            self._failure = failure
            raise


def _may_go_on(error: FlareError) -> bool:
    # What was on its way when a stream broke may have arrived after the server was asked for its size.
    return is_interruption(error) or error.reason == "UPLOAD_OFFSET_MISMATCH"
