"""Values of the contract's enums by the short names that people write: `relu` for `ACTIVATION_KIND_RELU`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc

from flare_client.errors import FlareError, Violation

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper as EnumTypeWrapper

V = TypeVar("V", bound=int)


def choose(what: str, name: str, enum: EnumTypeWrapper[V]) -> V:
    """The value with this short name; the empty one is the enum's zero value.

    Raises:
        FlareError: There is none; the message lists those that there are.
    """
    prefix = _prefix(enum)
    if not name:
        return enum.Value(f"{prefix}UNSPECIFIED")
    known = choices(enum)
    key = name.lower().replace("-", "_")
    if key not in known:
        message = f"{what} {name!r} is not one of {', '.join(known)}"
        raise FlareError(
            grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation(what.replace(" ", "_"), message),)
        )
    return enum.Value(prefix + key.upper())


def choices(enum: EnumTypeWrapper[V]) -> tuple[str, ...]:
    """The short names, without that of the zero value."""
    prefix = _prefix(enum)
    return tuple(name.removeprefix(prefix).lower() for name in enum.keys()[1:])


def short_name(enum: EnumTypeWrapper[V], value: int) -> str:
    """The short name of a value, empty for the zero value."""
    descriptor = enum.DESCRIPTOR.values_by_number.get(value)
    if descriptor is None:
        return str(value)
    return descriptor.name.removeprefix(_prefix(enum)).lower() if value else ""


def _prefix(enum: EnumTypeWrapper[V]) -> str:
    return enum.keys()[0].removesuffix("UNSPECIFIED")
