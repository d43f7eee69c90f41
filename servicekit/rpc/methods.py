"""What the contracts say of each method: who may call it, and which sides stream."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flare.auth.v1 import options_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor


@dataclass(frozen=True)
class Method:
    """One method of a contract."""

    path: str
    required_scope: str | None  # None: anyone may call it, without a token


class UnmarkedMethodError(Exception):
    """A method says neither which scope it requires nor that it is public; serving it would be a guess."""


Scopes = Mapping[str, str | None]
"""The scope that each method of a service requires, by the method's name; None: anyone may call it, without a token."""


def method_table(
    services: Iterable[ServiceDescriptor], foreign_scopes: Mapping[str, Scopes] | None = None
) -> dict[str, Method]:
    """The methods of services by their path, such as `/flare.ml.v1.ModelService/GetModel`.

    Our own contracts say themselves who may call a method. A contract of others can't carry our options: its scopes
    stand in `foreign_scopes`, by the full name of the service.

    Raises:
        UnmarkedMethodError: A method has neither or both of the options `required_scope` and `public`; or the scopes
            of a foreign contract are not those of its methods, one each.
    """
    table = {}
    for service in services:
        scopes = (foreign_scopes or {}).get(service.full_name)
        for method in _own(service) if scopes is None else _foreign(service, scopes):
            table[method.path] = method
    return table


def _own(service: ServiceDescriptor) -> list[Method]:
    methods = []
    for method in service.methods:
        options = method.GetOptions()
        scope = options.Extensions[options_pb2.required_scope]
        is_public = options.Extensions[options_pb2.public]
        if bool(scope) == is_public:
            raise UnmarkedMethodError(
                f"{method.full_name} must have one of the options (flare.auth.v1.required_scope) and "
                "(flare.auth.v1.public)"
            )
        methods.append(Method(_path(method), scope or None))
    return methods


def _foreign(service: ServiceDescriptor, scopes: Scopes) -> list[Method]:
    names = [method.name for method in service.methods]
    if different := sorted(set(names) ^ set(scopes)):
        raise UnmarkedMethodError(
            f"the scopes of {service.full_name} must be those of its methods, one each: {', '.join(different)} stands "
            "on one side only"
        )
    return [Method(_path(method), scopes[method.name]) for method in service.methods]


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"
