"""Upload sessions as messages, and what announces them as values."""

from pathlib import PurePosixPath

from flare.scraper.v1 import upload_session_pb2

from scraper_server.uploads.session import UploadProgress
from servicekit.rpc.jobs import timestamp_message
from servicekit.uploads import Announcement


def announcement(file_name: str, size_bytes: int, sha256: str) -> Announcement:
    """What is said of a file that will be sent. The folders in its name are the sender's business."""
    return Announcement(PurePosixPath(file_name.replace("\\", "/")).name, size_bytes, sha256)


def session_message(progress: UploadProgress) -> upload_session_pb2.UploadSession:
    """A session and how far it is."""
    session = progress.session
    return upload_session_pb2.UploadSession(
        name=session.name,
        file_name=session.announced.file_name,
        size_bytes=session.announced.size_bytes,
        sha256=session.announced.sha256,
        received_bytes=progress.received_bytes,
        create_time=timestamp_message(session.create_time),
        expire_time=timestamp_message(progress.expire_time),
    )
