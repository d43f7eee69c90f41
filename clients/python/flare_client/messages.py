"""Messages as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from flare_client.errors import FlareError, Violation

M = TypeVar("M", bound=Message)

# A status holds its details packed: their types must be known to be shown.
_SHOWN_DETAILS = error_details_pb2.DESCRIPTOR


_WORDS = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "a string",
}


def filled(message: type[M], **fields: Any) -> M:
    """A message with these fields. Raises FlareError: INVALID_FIELD, naming the first that its field can't hold."""
    try:
        return message(**fields)
    except (TypeError, ValueError) as error:
        name = next(name for name, value in fields.items() if not _holds(message, name, value))
        text = f"{name} is {fields[name]!r}: give {_WORDS[message.DESCRIPTOR.fields_by_name[name].cpp_type]}"
        violation = Violation(name, text)
        raise FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", text, (violation,)) from error


def _holds(message: type[Message], name: str, value: Any) -> bool:
    try:
        message(**{name: value})
    except (TypeError, ValueError):
        return False
    return True


def as_json(message: Message) -> dict[str, Any]:
    """The fields of a message that are set, by the names they have in the contract.

    Unlike the JSON form of protobuf, whole numbers of 64 bits are numbers, not strings.
    """
    shown: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = field.message_type.fields_by_name["value"]
            shown[field.name] = {str(key): _value(values, part) for key, part in value.items()}
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            shown[field.name] = [_value(field, part) for part in value]
        else:
            shown[field.name] = _value(field, value)
    return shown


def _value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        if value.DESCRIPTOR.file.package == "google.protobuf":
            return json_format.MessageToDict(value)
        return as_json(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value
