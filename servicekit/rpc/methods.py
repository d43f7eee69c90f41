"""What the contracts say of each method: who may call it, and which sides stream."""

from collections.abc import Iterable
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


def method_table(services: Iterable[ServiceDescriptor]) -> dict[str, Method]:
    """The methods of services by their path, such as `/flare.ml.v1.ModelService/GetModel`.

    Raises:
        UnmarkedMethodError: A method has neither or both of the options `required_scope` and `public`.
    """
    methods = [_method(method) for service in services for method in service.methods]
    return {method.path: method for method in methods}


def _method(method: MethodDescriptor) -> Method:
    options = method.GetOptions()
    scope = options.Extensions[options_pb2.required_scope]
    is_public = options.Extensions[options_pb2.public]
    if bool(scope) == is_public:
        raise UnmarkedMethodError(
            f"{method.full_name} must have one of the options (flare.auth.v1.required_scope) and (flare.auth.v1.public)"
        )
    return Method(f"/{method.containing_service.full_name}/{method.name}", scope or None)
