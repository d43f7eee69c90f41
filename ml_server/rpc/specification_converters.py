"""Between `flare.ml.v1.ModelSpecification` and its value.

Values have the names of the contract's fields, so one walk over a message's descriptor converts all of them. What the
contract leaves open (a zero or an empty list that stands for a default) becomes the default's value on the way in.
"""

from collections.abc import MutableSequence
from typing import Any, cast

from flare.ml.v1 import specification_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from pydantic import ValidationError

from ml_server.networks.specification import ModelSpecification, ParameterValue
from ml_server.networks.values import Value
from servicekit.errors import InvalidArgument, Reason, Violation

_UNIONS = {"architecture": "kind", "operation": "op"}
"""Oneofs of the contract: the field that holds the value, and how the value names the member that is set."""


def model_specification(message: specification_pb2.ModelSpecification) -> ModelSpecification:
    """The value of a message that keeps the contract's rules.

    Raises:
        InvalidArgument: INVALID_FIELD: a number is not finite, or a rule that needs several fields is broken.
    """
    try:
        return ModelSpecification.model_validate(_fields(message))
    except ValidationError as error:
        violations = [Violation(_path(detail["loc"]), detail["msg"]) for detail in error.errors()]
        text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidArgument(Reason.INVALID_FIELD, text, violations=violations) from error


def model_specification_message(specification: ModelSpecification) -> specification_pb2.ModelSpecification:
    """The message of a value, with its defaults spelled out."""
    message = specification_pb2.ModelSpecification()
    _fill(message, specification)
    return message


def _fields(message: Message) -> dict[str, Any]:
    """What a message holds, as the arguments of its value. What is unset is left to the value's defaults."""
    if isinstance(message, specification_pb2.ModuleParameter):
        return {"name": message.name, "value": _parameter_value(message)}
    values: dict[str, Any] = {}
    for field, content in message.ListFields():
        value = _value(field, content)
        union = field.containing_oneof.name if field.containing_oneof is not None else ""
        if union in _UNIONS:
            values[union] = {_UNIONS[union]: field.name, **value}
        else:
            values[field.name] = value
    return values


def _value(field: FieldDescriptor, content: Any) -> Any:
    if isinstance(content, MutableSequence):
        return tuple(_value(field, item) for item in content)
    if field.message_type is not None:
        return _fields(content)
    return content if field.enum_type is None else _enum_value(field.enum_type, content)


def _parameter_value(message: specification_pb2.ModuleParameter) -> ParameterValue:
    match message.WhichOneof("value"):
        case "integer":
            return message.integer
        case "number":
            return message.number
        case "boolean":
            return message.boolean
        case "integers":
            return tuple(message.integers.values)
        case _:
            return message.text


def _fill(message: Message, value: Value) -> None:
    for name in type(value).model_fields:
        content = getattr(value, name)
        if name in _UNIONS:
            _fill_member(getattr(message, getattr(content, _UNIONS[name])), content)
        elif isinstance(message, specification_pb2.ModuleParameter) and name == "value":
            _fill_parameter(message, content)
        elif content is not None and name in message.DESCRIPTOR.fields_by_name:
            _fill_field(message, name, content)


def _fill_member(member: Message, value: Value) -> None:
    member.SetInParent()  # a message without fields, such as Add, is set all the same
    _fill(member, value)


def _fill_field(message: Message, name: str, content: Any) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if isinstance(content, Value):
        _fill_member(getattr(message, name), content)
    elif isinstance(content, tuple) and field.message_type is not None:
        for item in content:
            _fill(getattr(message, name).add(), item)
    elif isinstance(content, tuple):
        getattr(message, name).extend(content)
    else:
        number = content if field.enum_type is None else _enum_number(cast(EnumDescriptor, field.enum_type), content)
        setattr(message, name, number)


def _fill_parameter(message: specification_pb2.ModuleParameter, value: ParameterValue) -> None:
    match value:
        case bool():
            message.boolean = value
        case int():
            message.integer = value
        case float():
            message.number = value
        case str():
            message.text = value
        case tuple():
            message.integers.SetInParent()
            message.integers.values.extend(value)


def _enum_prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _enum_value(enum: EnumDescriptor, number: int) -> str:
    return enum.values_by_number[number].name.removeprefix(_enum_prefix(enum)).lower()


def _enum_number(enum: EnumDescriptor, value: str) -> int:
    return enum.values_by_name[_enum_prefix(enum) + value.upper()].number


def _path(location: tuple[int | str, ...]) -> str:
    """`specification.torch_graph.nodes[3].affine.scale`: the contract's path, without the names of its oneofs."""
    path = "specification"
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in _UNIONS:
            path += f".{part}"
    return path
