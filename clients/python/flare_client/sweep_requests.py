"""A sweep from the words that people use for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from flare.ml.v1 import sweep_pb2 as pb
from flare.ml.v1 import training_job_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from flare_client.errors import FlareError, Violation

Choice = bool | int | float | str
SAMPLERS = ("tpe", "random", "grid", "gaussian_process")
PRUNERS = ("no_pruner", "median", "percentile", "successive_halving", "hyperband")


@dataclass(frozen=True)
class Range:
    """All values between two."""

    low: float
    high: float
    log: bool = False
    step: int = 0


Space = Mapping[str, Range | Sequence[Choice]]
"""By the paths of a plan's fields: a range, or a list of choices."""
Options = str | Mapping[str, Mapping[str, float]]
"""A name, `median`, or a name with its options, `{"median": {"startup_trials": 3}}`."""


def between(low: float, high: float, *, log: bool = False, step: int = 0) -> Range:
    """The values from `low` to `high`; with `log` equal ratios are equally likely. `step` is for integers."""
    return Range(low, high, log, step)


def parameter_messages(space: Space) -> list[pb.SweepParameter]:
    """The parameters of a sweep.

    Raises:
        FlareError: There is none, or a range of integers has a bound that is none.
    """
    if not space:
        raise _refused("parameters", "a sweep without a parameter has nothing to try: name a field and its values")
    return [_parameter(path, values) for path, values in space.items()]


def _parameter(path: str, values: Range | Sequence[Choice]) -> pb.SweepParameter:
    message = pb.SweepParameter(path=path)
    if not isinstance(values, Range):
        message.choices.values.extend(map(_value, values))
    elif _holds_floats(path):
        message.float_range.min, message.float_range.max = values.low, values.high
        message.float_range.log = values.log
    elif not (float(values.low).is_integer() and float(values.high).is_integer()):
        raise _refused(path, f"{path} holds integers, not {values.low} to {values.high}")
    else:
        integers = message.integer_range
        integers.min, integers.max, integers.step, integers.log = (
            int(values.low),
            int(values.high),
            values.step,
            values.log,
        )
    return message


def _holds_floats(path: str) -> bool:
    """True if the field of the plan is a floating-point number; a path that is none is left to the service."""
    descriptor: Descriptor | None = training_job_pb2.TrainingPlan.DESCRIPTOR
    names = path.split(".")
    if names[0] in training_job_pb2.TrainingPlan.DESCRIPTOR.oneofs_by_name:
        names = names[1:]
    field: FieldDescriptor | None = None
    for name in names:
        if descriptor is None or name not in descriptor.fields_by_name:
            return True
        field = descriptor.fields_by_name[name]
        descriptor = field.message_type
    return field is None or field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE


def _value(value: Choice) -> pb.ParameterValue:
    match value:
        case bool():
            return pb.ParameterValue(bool_value=value)
        case int():
            return pb.ParameterValue(integer_value=value)
        case float():
            return pb.ParameterValue(double_value=value)
        case str():
            return pb.ParameterValue(string_value=value)


def plain_value(value: pb.ParameterValue) -> Choice:
    """The value of a parameter."""
    found: Choice = getattr(value, value.WhichOneof("value") or "string_value")
    return found


def set_options(sweep: pb.Sweep, what: str, options: Options, known: Sequence[str]) -> None:
    """Sets the sampler or the pruner. Raises FlareError if there is none of that name, or it has no such option."""
    given = {options: {}} if isinstance(options, str) else options
    if len(given) != 1:
        raise _refused(what, f"{what} is one of {', '.join(known)}, with its options or without")
    ((name, fields),) = given.items()
    if name not in known:
        raise _refused(what, f"{what} {name!r} is not one of {', '.join(known)}")
    member = getattr(sweep, name)
    member.SetInParent()
    for option, value in fields.items():
        if option not in member.DESCRIPTOR.fields_by_name:
            has = ", ".join(member.DESCRIPTOR.fields_by_name) or "none"
            raise _refused(what, f"{what} {name} has no option {option!r}: it has {has}")
        setattr(member, option, value)


def _refused(field: str, message: str) -> FlareError:
    return FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation(field, message),))
