"""What an import job is told, how far it is, and what it made: as values, and as the JSON that a job store keeps."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from scraper_server.datasets.values import Origin
from scraper_server.tables.formats import FileFormat


@dataclass(frozen=True)
class UploadRef:
    """A file that was sent in an upload session."""

    session_id: str


@dataclass(frozen=True)
class ImportSpec:
    """What to import, and what to call it. An empty `display_name` takes the source's title, or the file's name."""

    origin: Origin
    dataset_id: str
    display_name: str = ""
    format: FileFormat = field(default_factory=FileFormat)
    upload_session: str = ""
    """The id of the session that has the file, if it was uploaded."""

    def to_json(self) -> dict[str, Any]:
        """As a job's spec."""
        spec: dict[str, Any] = _SPEC.dump_python(self, mode="json")
        return spec

    @staticmethod
    def from_json(spec: dict[str, Any]) -> "ImportSpec":
        """The reverse."""
        return _SPEC.validate_python(spec)


class ImportPhase(StrEnum):
    """What an import is doing."""

    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    CONVERTING = "converting"
    PROFILING = "profiling"


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is in its phase. `remaining_seconds` is None where it can't be told."""

    phase: ImportPhase
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_second: float = 0.0
    remaining_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As a job's progress, and the payload of its event."""
        progress: dict[str, Any] = _PROGRESS.dump_python(self, mode="json")
        return progress

    @staticmethod
    def from_json(progress: dict[str, Any]) -> "ImportProgress":
        """The reverse."""
        return _PROGRESS.validate_python(progress)


@dataclass(frozen=True)
class ImportResult:
    """The data set that an import made."""

    dataset_id: str
    row_count: int
    column_count: int

    def to_json(self) -> dict[str, Any]:
        """As a job's result, and the payload of its event."""
        result: dict[str, Any] = _RESULT.dump_python(self, mode="json")
        return result

    @staticmethod
    def from_json(result: dict[str, Any]) -> "ImportResult":
        """The reverse."""
        return _RESULT.validate_python(result)


_SPEC = TypeAdapter(ImportSpec)
_PROGRESS = TypeAdapter(ImportProgress)
_RESULT = TypeAdapter(ImportResult)

# Kinds of a job's events, beside servicekit's `state_changed`.
PROGRESS = "progress"
DATASET_CREATED = "dataset_created"
