"""The folder of files on their way. It alone knows what has arrived: a server that dies can't have written it down."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Arrived:
    """What is there of a file: so many bytes, the last of them at that time."""

    size_bytes: int
    time: datetime


class UploadFolder:
    """A file for each session, by its id; nobody else uses the folder. Every method waits for the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def make(self) -> None:
        """Makes the folder if it is not there."""
        self._directory.mkdir(parents=True, exist_ok=True)

    def path(self, session_id: str) -> Path:
        """Where the file of a session lies."""
        return self._directory / session_id

    def arrived(self, session_id: str) -> Arrived | None:
        """What is there of it, None if no byte ever came."""
        try:
            known = self.path(session_id).stat()
        except FileNotFoundError:
            return None
        return Arrived(known.st_size, datetime.fromtimestamp(known.st_mtime, UTC))

    def renew(self, session_id: str) -> None:
        """Makes it look as if bytes had arrived now."""
        path = self.path(session_id)
        path.touch()
        os.utime(path)

    def clear(self, session_id: str) -> None:
        """Drops its bytes; the next ones begin anew."""
        os.truncate(self.path(session_id), 0)

    def remove(self, session_id: str) -> None:
        """Removes it, if it is there."""
        self.path(session_id).unlink(missing_ok=True)

    def ids(self) -> set[str]:
        """The sessions that have a file."""
        return {path.name for path in self._directory.iterdir()}
