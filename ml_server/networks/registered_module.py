"""Modules that the operator's image offers through the entry-point group `flare.modules`.

An entry point names a subclass of `torch.nn.Module`. Its constructor takes `feature_count` and `output_count`, and
parameters annotated `int`, `float`, `bool`, `str` or a list or tuple of `int`, which clients may set. Its forward maps
features (N, feature_count) to outputs (N, output_count) and must also run on PyTorch's meta device, where shapes are
checked.
"""

import inspect
import json
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from torch import Tensor, nn

from ml_server.networks.manageable_model import ManageableModel, ModelConfig
from ml_server.networks.specification import ParameterValue, RegisteredModuleSpecification
from servicekit.errors import InvalidArgument, Reason

ENTRY_POINT_GROUP = "flare.modules"

_GIVEN_BY_SERVER = ("feature_count", "output_count")
_TYPE_NAMES: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "text"}
_FIELD = "specification.registered_module"


@dataclass(frozen=True)
class ParameterDescription:
    """A parameter that clients may set. `type` is integer, number, boolean, text or integers."""

    name: str
    type: str
    default_json: str
    """The default as JSON; empty if the parameter must be given."""


@dataclass(frozen=True)
class ModuleDescription:
    """A registered module as ListModules shows it."""

    module: str
    description: str
    parameters: tuple[ParameterDescription, ...]


class RegisteredModule(ManageableModel):
    """The operator's module behind the input layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        specification = config.specification.architecture
        assert isinstance(specification, RegisteredModuleSpecification)
        module_class, arguments = resolve(specification)
        try:
            self.module = module_class(feature_count=config.layout.features, output_count=config.outputs, **arguments)
        except Exception as error:  # the operator's code may raise anything; the caller chose its parameters
            raise InvalidArgument(
                Reason.MODULE_UNKNOWN,
                f"module '{specification.module}' does not accept these parameters: "
                f"{type(error).__name__}: {error}: call ListModules for what it takes",
                field=f"{_FIELD}.parameters",
            ) from error

    def compute(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.module(features)
        return outputs


def list_modules() -> tuple[ModuleDescription, ...]:
    """Every module on offer, by name. An entry point that can't be offered stops with its name and the reason."""
    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return tuple(_describe(point.name, _load(point)) for point in points)


def resolve(specification: RegisteredModuleSpecification) -> tuple[type[nn.Module], dict[str, ParameterValue]]:
    """The class that a specification names, and its checked constructor arguments.

    Raises:
        InvalidArgument: MODULE_UNKNOWN: there is no such module, or it takes other parameters; says which.
    """
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    point = points.get(specification.module)
    if point is None:
        offered = ", ".join(sorted(points)) or "none"
        raise InvalidArgument(
            Reason.MODULE_UNKNOWN,
            f"this server offers no module '{specification.module}'; it offers: {offered}",
            field=f"{_FIELD}.module",
        )
    module_class = _load(point)
    known = {parameter.name: parameter for parameter in _describe(point.name, module_class).parameters}
    arguments: dict[str, ParameterValue] = {}
    for index, given in enumerate(specification.parameters):
        field = f"{_FIELD}.parameters[{index}]"
        if given.name not in known:
            message = f"module '{point.name}' has no parameter '{given.name}'; it has: {', '.join(known) or 'none'}"
            raise InvalidArgument(Reason.MODULE_UNKNOWN, message, field=f"{field}.name")
        if given.name in arguments:
            message = f"parameter '{given.name}' is given twice: leave one out"
            raise InvalidArgument(Reason.MODULE_UNKNOWN, message, field=f"{field}.name")
        arguments[given.name] = _converted(given.value, known[given.name], field)
    missing = [name for name, parameter in known.items() if not parameter.default_json and name not in arguments]
    if missing:
        message = f"module '{point.name}' needs the parameters {', '.join(missing)}: add them"
        raise InvalidArgument(Reason.MODULE_UNKNOWN, message, field=f"{_FIELD}.parameters")
    return module_class, arguments


def _load(point: EntryPoint) -> type[nn.Module]:
    loaded = point.load()
    if not (isinstance(loaded, type) and issubclass(loaded, nn.Module)):
        raise TypeError(
            f"entry point '{point.name}' ({point.value}) of {ENTRY_POINT_GROUP} is no torch.nn.Module class"
        )
    return loaded


def _describe(name: str, module_class: type[nn.Module]) -> ModuleDescription:
    """Reads the constructor's annotations. Parameters of other types keep their default and are not on offer."""
    constructor = module_class.__init__
    hints = typing.get_type_hints(constructor)
    parameters = []
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        if parameter.name in _GIVEN_BY_SERVER or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        type_name = _type_name(hints.get(parameter.name))
        required = parameter.default is parameter.empty
        if type_name is not None:
            default = "" if required else json.dumps(parameter.default)
            parameters.append(ParameterDescription(parameter.name, type_name, default))
        elif required:
            raise TypeError(
                f"module '{name}': parameter '{parameter.name}' has no default and its annotation is not int, float, "
                "bool, str or a list or tuple of int"
            )
    return ModuleDescription(name, inspect.getdoc(module_class) or "", tuple(parameters))


def _type_name(annotation: Any) -> str | None:
    if annotation in _TYPE_NAMES:
        return _TYPE_NAMES[annotation]
    if typing.get_origin(annotation) in (list, tuple, Sequence):
        arguments = typing.get_args(annotation)
        if arguments in ((int,), (int, Ellipsis)):
            return "integers"
    return None


def _converted(value: ParameterValue, parameter: ParameterDescription, field: str) -> ParameterValue:
    given = _given_type(value)
    if parameter.type == "number" and given == "integer":
        assert isinstance(value, int)
        return float(value)
    if given != parameter.type or (isinstance(value, float) and not math.isfinite(value)):
        message = (
            f"parameter '{parameter.name}' is {parameter.type}, not {given} ({value!r}): give it as {parameter.type}"
        )
        raise InvalidArgument(Reason.MODULE_UNKNOWN, message, field=field)
    return value


def _given_type(value: ParameterValue) -> str:
    return "integers" if isinstance(value, tuple) else _TYPE_NAMES[type(value)]
