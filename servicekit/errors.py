"""What can go wrong, in the words of the domain. One interceptor gives each class its gRPC status."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Reason(StrEnum):
    """The values of `flare.common.v1.ErrorReason` without their prefix; the contract says what each means."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    NAME_TAKEN = "NAME_TAKEN"
    NOT_FOUND = "NOT_FOUND"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    RESOURCE_IN_USE = "RESOURCE_IN_USE"
    EVENTS_OUT_OF_RANGE = "EVENTS_OUT_OF_RANGE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"
    JOB_ENDED = "JOB_ENDED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    JOB_NOT_PAUSED = "JOB_NOT_PAUSED"
    METHOD_UNSUPPORTED = "METHOD_UNSUPPORTED"
    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_INVALID = "TOKEN_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    SCOPE_MISSING = "SCOPE_MISSING"
    CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
    REFRESH_TOKEN_REJECTED = "REFRESH_TOKEN_REJECTED"
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS"
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"
    SOURCE_RATE_LIMITED = "SOURCE_RATE_LIMITED"
    SOURCE_CREDENTIALS_REJECTED = "SOURCE_CREDENTIALS_REJECTED"
    SOURCE_NOT_FOUND = "SOURCE_NOT_FOUND"
    DOWNLOAD_CORRUPT = "DOWNLOAD_CORRUPT"
    FILE_NOT_A_TABLE = "FILE_NOT_A_TABLE"
    FILE_EMPTY = "FILE_EMPTY"
    UPLOAD_INCOMPLETE = "UPLOAD_INCOMPLETE"
    COLUMN_NOT_FOUND = "COLUMN_NOT_FOUND"
    COLUMN_DUPLICATE = "COLUMN_DUPLICATE"
    CAST_FAILED = "CAST_FAILED"
    ROLE_MISSING = "ROLE_MISSING"
    TARGET_ALL_MISSING = "TARGET_ALL_MISSING"
    VALUES_MISSING = "VALUES_MISSING"
    SPLIT_EMPTY = "SPLIT_EMPTY"
    SPLIT_INVALID = "SPLIT_INVALID"
    UPLOAD_OFFSET_MISMATCH = "UPLOAD_OFFSET_MISMATCH"
    IMAGES_BROKEN = "IMAGES_BROKEN"
    ARCHIVE_UNSAFE = "ARCHIVE_UNSAFE"
    FILE_PART_NOT_FOUND = "FILE_PART_NOT_FOUND"
    CREDENTIALS_NOT_KEPT = "CREDENTIALS_NOT_KEPT"
    TOO_MANY_ROWS = "TOO_MANY_ROWS"
    TOO_MANY_COLUMNS = "TOO_MANY_COLUMNS"
    CELL_TOO_LARGE = "CELL_TOO_LARGE"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    ARCHIVE_TOO_DENSE = "ARCHIVE_TOO_DENSE"
    TOO_MANY_ARCHIVE_ENTRIES = "TOO_MANY_ARCHIVE_ENTRIES"
    ARCHIVE_TOO_LARGE = "ARCHIVE_TOO_LARGE"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    UPLOAD_TAKEN_OVER = "UPLOAD_TAKEN_OVER"
    WEIGHTS_INVALID = "WEIGHTS_INVALID"
    SHAPE_MISMATCH = "SHAPE_MISMATCH"
    GRAPH_INVALID = "GRAPH_INVALID"
    MODULE_UNKNOWN = "MODULE_UNKNOWN"
    IMAGE_SIZE_MISMATCH = "IMAGE_SIZE_MISMATCH"
    FEATURE_MAP_VANISHED = "FEATURE_MAP_VANISHED"
    TARGET_SINGLE_CLASS = "TARGET_SINGLE_CLASS"
    COLUMN_UNSUPPORTED = "COLUMN_UNSUPPORTED"
    WEIGHTS_MISMATCH = "WEIGHTS_MISMATCH"
    TRAINING_DIVERGED = "TRAINING_DIVERGED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
    DEVICE_UNAVAILABLE = "DEVICE_UNAVAILABLE"
    NO_VERSION = "NO_VERSION"
    COLUMN_MISSING = "COLUMN_MISSING"
    COLUMN_UNEXPECTED = "COLUMN_UNEXPECTED"
    VALUE_INVALID = "VALUE_INVALID"
    MODEL_TOO_LARGE = "MODEL_TOO_LARGE"
    TRIALS_FAILED = "TRIALS_FAILED"
    STEP_FAILED = "STEP_FAILED"


@dataclass(frozen=True)
class Violation:
    """A field of the request that breaks a rule, by its path such as `view.columns[2].cast`."""

    field: str
    description: str


class FlareError(Exception):
    """Something that a caller can be told. Each subclass is one status.

    The message names the value, the place and the remedy; `metadata` repeats what varies in it, for programs.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        violations: Sequence[Violation] = (),
        retry_after_seconds: float | None = None,
        resource: str | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = (*violations, *([Violation(field, message)] if field else []))
        self.retry_after_seconds = retry_after_seconds
        self.resource = resource
        self.metadata = metadata

    def to_json(self) -> dict[str, Any]:
        """Everything about the error as JSON values, so that it can be stored or cross a process boundary."""
        return {
            "status": type(self).__name__,
            "reason": self.reason.value,
            "message": self.message,
            "violations": [asdict(violation) for violation in self.violations],
            "retry_after_seconds": self.retry_after_seconds,
            "resource": self.resource,
            "metadata": self.metadata,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "FlareError":
        """The error that `to_json` described."""
        return STATUSES[value["status"]](
            Reason(value["reason"]),
            value["message"],
            violations=[Violation(**violation) for violation in value["violations"]],
            retry_after_seconds=value["retry_after_seconds"],
            resource=value["resource"],
            **value["metadata"],
        )

    def at(self, prefix: str) -> Self:
        """The same error with `prefix` before the path of each violation."""
        moved = [Violation(f"{prefix}{violation.field}", violation.description) for violation in self.violations]
        return type(self)(
            self.reason,
            self.message,
            violations=moved,
            retry_after_seconds=self.retry_after_seconds,
            resource=self.resource,
            **self.metadata,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (FlareError.from_json, (self.to_json(),))


class InvalidArgument(FlareError):
    """The request can't be right, whatever the state of the system."""


class NotFound(FlareError):
    """There is no such thing, or it is somebody else's."""


class AlreadyExists(FlareError):
    """The name is taken."""


class FailedPrecondition(FlareError):
    """The system is not in the state that the request needs."""


class Aborted(FlareError):
    """Somebody else came between; read again and repeat."""


class OutOfRange(FlareError):
    """A position beyond what there is."""


class PermissionDenied(FlareError):
    """The caller is known and may not."""


class Unauthenticated(FlareError):
    """The caller is not known."""


class ResourceExhausted(FlareError):
    """A limit is reached."""


class Unavailable(FlareError):
    """Something that is needed does not answer now; a repeat may succeed."""


class DataLoss(FlareError):
    """Bytes differ from what they should be."""


class Unimplemented(FlareError):
    """A contract of others has this, and Flare does not."""


class Internal(FlareError):
    """A fault of Flare itself."""


STATUSES: dict[str, type[FlareError]] = {status.__name__: status for status in FlareError.__subclasses__()}
