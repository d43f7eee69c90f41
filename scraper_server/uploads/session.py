"""An upload session, as this service keeps it, and how far it is."""

from dataclasses import dataclass
from datetime import datetime

from servicekit.uploads import Announcement

JOB_UPLOAD = "upload_session"
"""Where the spec of an import job holds the id of the session whose file it reads; empty for other imports."""


@dataclass(frozen=True)
class UploadSession:
    """A file that is announced. `id` is unique among those of all owners."""

    owner: str
    id: str
    announced: Announcement
    create_time: datetime
    whole_sha256: str = ""
    """Of the file once all of it has arrived and is what was announced, hexadecimal."""

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"uploadSessions/{self.id}"


@dataclass(frozen=True)
class UploadProgress:
    """A session with what the disk says of it: how many bytes are there, and until when."""

    session: UploadSession
    received_bytes: int
    expire_time: datetime
