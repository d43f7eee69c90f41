"""Holds every request against the rules of its contract before a servicer sees it."""

from typing import Any

from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator, Violation

from servicekit import errors
from servicekit.errors import InvalidArgument, Reason
from servicekit.rpc.interceptor import CallInterceptor

SHOWN_VIOLATIONS = 20


class ValidationInterceptor(CallInterceptor):
    """Refuses requests that break a protovalidate rule, naming each field."""

    def __init__(self) -> None:
        self._validator = Validator()

    def warm_up(self, services: list[ServiceDescriptor]) -> None:
        """Compiles the rules of every request, which would otherwise delay the first call of each method."""
        for descriptor in {method.input_type for service in services for method in service.methods}:
            self._validator.collect_violations(_empty(descriptor))

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
