"""Holds every request against the rules of its contract before a servicer sees it."""

from collections.abc import Awaitable, Sequence
from typing import Any

import grpc
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator, Violation

from servicekit import errors
from servicekit.errors import InvalidArgument, Reason
from servicekit.rpc.interceptor import CallInterceptor, Context, Method

SHOWN_VIOLATIONS = 20


class ValidationInterceptor(CallInterceptor):
    """Refuses requests that break a protovalidate rule, naming each field."""

    def __init__(self, services: Sequence[ServiceDescriptor]) -> None:
        self._validator = Validator()
        self._ruled = {
            f"/{service.full_name}/{method.name}": method.input_type
            for service in services
            for method in service.methods
            if has_rules(method.input_type)
        }

    def warm_up(self) -> None:
        """Compiles the rules of every request, which would otherwise delay the first call of each method."""
        for descriptor in set(self._ruled.values()):
            self._validator.collect_violations(_empty(descriptor))

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Leaves methods alone whose requests have no rules, as those of foreign contracts: to look costs time too."""
        if handler_call_details.method not in self._ruled:
            return await continuation(handler_call_details)
        return await super().intercept_service(continuation, handler_call_details)

    def unary(self, method: Method, name: str) -> Method:
        """As CallInterceptor says."""

        def call(request: Any, context: Context) -> Awaitable[Any]:
            self.check(request)
            return method(request, context)

        return call

    def check(self, request: Any) -> None:
        """Raises InvalidArgument (INVALID_FIELD) if a rule is broken."""
        if not isinstance(request, Message):
            return
        check_rules(self._validator, request)


def check_rules(validator: Validator, message: Message) -> None:
    """Raises InvalidArgument (INVALID_FIELD) if a message breaks a rule of its contract."""
    found = validator.collect_violations(message)
    if not found:
        return
    violations = [errors.Violation(_path(each), each.proto.message) for each in found[:SHOWN_VIOLATIONS]]
    text = "; ".join(f"{each.field or 'the request'}: {each.description}" for each in violations)
    raise InvalidArgument(Reason.INVALID_FIELD, text, violations=violations)


def has_rules(message: Descriptor) -> bool:
    """True if a message, or one inside of it, has a rule."""
    found, seen = [message], {message.full_name}
    while found:
        descriptor = found.pop()
        if descriptor.GetOptions().HasExtension(validate_pb2.message):
            return True
        if any(oneof.GetOptions().HasExtension(validate_pb2.oneof) for oneof in descriptor.oneofs):
            return True
        for field in descriptor.fields:
            if field.GetOptions().HasExtension(validate_pb2.field):
                return True
            if field.message_type is not None and field.message_type.full_name not in seen:
                seen.add(field.message_type.full_name)
                found.append(field.message_type)
    return False


def _empty(descriptor: Descriptor) -> Message:
    return GetMessageClass(descriptor)()


def _path(violation: Violation) -> str:
    """The field's path, such as `view.columns[2].cast`."""
    path = ""
    field = violation.proto.field
    for element in field.elements if field is not None else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return path
