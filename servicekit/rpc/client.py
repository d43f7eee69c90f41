"""What one service makes of another one's errors."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from servicekit.errors import FlareError, Internal, Reason, Unavailable, Violation
from servicekit.rpc.status import ERROR_DOMAIN, STATUS_OF

_ERROR_OF = {code.value[0]: error for error, code in STATUS_OF.items()}
RETRY_SECONDS = 1.0


def error_of(error: grpc.aio.AioRpcError, service: str) -> FlareError:
    """The error as its service raised it; if it comes from the way there instead, one that names the service."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has a call's methods
    if status is not None and (told := told_error(status)) is not None:
        return told
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"the {service} does not answer: {error.details()}",
            retry_after_seconds=RETRY_SECONDS,
        )
    return Internal(Reason.INTERNAL, f"the {service} answered {error.code().name}: {error.details()}")


def told_error(status: status_pb2.Status) -> FlareError | None:
    """The error that a status of one of our services tells of, such as that of a job; None if it is of others."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    if not _unpack(status, info) or info.domain != ERROR_DOMAIN:
        return None
    _unpack(status, request)
    violations = [Violation(each.field, each.description) for each in request.field_violations]
    return _ERROR_OF.get(status.code, Internal)(
        Reason(info.reason),
        status.message,
        violations=violations,
        **dict(info.metadata),  # type: ignore[arg-type]  # names chosen by ourselves
    )


def _unpack(status: status_pb2.Status, detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> bool:
    return any(each.Unpack(detail) for each in status.details)
