"""What a failed call or a failed job raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import message as protobuf
from google.rpc import error_details_pb2, status_pb2

STATUS_DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "flare"

_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Violation:
    """A field of the request that breaks a rule."""

    field: str
    description: str


@dataclass(eq=False)
class FlareError(Exception):
    """A call or a job failed.

    `reason` is a name of `flare.common.v1.ErrorReason` without its prefix, such as `COLUMN_NOT_FOUND`: branch on it. It
    is empty when the failure did not come from a Flare service, such as a connection that could not be made.
    `retry_after` is in seconds, None unless the service named a time.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    violations: tuple[Violation, ...] = ()
    retry_after: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def __str__(self) -> str:
        """The message, and those violations that it does not tell already, in one line."""
        told = [self.message]
        told += [f"{v.field}: {v.description}" for v in self.violations if v.description not in self.message]
        return "; ".join(" ".join(part.split()) for part in told if part) or self.code.name


def error_of_status(status: status_pb2.Status) -> FlareError:
    """The error that a `google.rpc.Status` describes, such as that of a failed job."""
    reason, metadata, retry_after, violations = "", {}, None, list[Violation]()
    for detail in status.details:
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            violations += [Violation(v.field, v.description) for v in request.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return FlareError(code, reason, status.message, tuple(violations), retry_after, metadata)


def error_of_call(error: grpc.RpcError, service: str, address: str) -> FlareError:
    """The error of a call to the service at the address, with the details that came in its trailers."""
    status = _status_in(error.trailing_metadata() or ())
    if status is not None:
        return error_of_status(status)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        cause = details.rpartition(": ")[2]  # "failed to connect to all addresses; last error: ...: Connection refused"
        details = (
            f"no answer from the {service} service at {address} ({cause}): "
            "is it running? `flare up --data-dir DIR` starts all services"
        )
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = f"the {service} service at {address} did not answer in time"
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:  # gRPC's own words
        details = f"{details}: send or ask for less at a time, such as fewer rows"
    return FlareError(code, "", details)


def _status_in(metadata: Iterable[Any]) -> status_pb2.Status | None:
    for key, value in metadata:
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except protobuf.DecodeError:
                return None
    return None


def is_expired_token(error: FlareError) -> bool:
    """True if the call would succeed with a newer token."""
    return error.reason == "TOKEN_EXPIRED"


def is_away(error: FlareError) -> bool:
    """True if the service is not there, or ended before it answered: the same call may reach its successor."""
    # A server that ends cancels calls without a word; a connection that its own program closed says that it was.
    bare_cancel = error.code is grpc.StatusCode.CANCELLED and error.message in ("", "CANCELLED")
    return error.code is grpc.StatusCode.UNAVAILABLE or bare_cancel


def is_interruption(error: FlareError) -> bool:
    """True if a stream broke for a reason that lies in the connection and not in what was asked for."""
    if error.reason:
        return error.code is grpc.StatusCode.UNAVAILABLE
    # Without details the failure came from the transport: resets arrive as any of these.
    return error.code in _TRANSPORT_CODES


_TRANSPORT_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
