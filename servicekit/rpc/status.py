"""Domain errors as `google.rpc.Status`: the one table that gives each class its code."""

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from servicekit import errors
from servicekit.errors import FlareError

ERROR_DOMAIN = "flare"

STATUS_OF: dict[type[FlareError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}


def status_message(error: FlareError) -> status_pb2.Status:
    """The status with an `ErrorInfo`, and `BadRequest`, `RetryInfo` and `ResourceInfo` where the error has them."""
    status = status_pb2.Status(code=STATUS_OF[type(error)].value[0], message=error.message)
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)]
    packed = [_packed(detail) for detail in details]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
            for each in error.violations
        ]
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if error.resource is not None:
        kind = error.resource.split("/")[0]
        resource = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=error.resource)
        packed.append(_packed(resource))
    status.details.extend(packed)
    return status


def _packed(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.ResourceInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
