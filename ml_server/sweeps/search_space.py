"""The points of a search: which parameters count in one, what a grid holds, and whether each makes a plan."""

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from ml_server.sweeps.plan_fields import PlanField, chosen_members, plan_fields, with_values
from ml_server.sweeps.values import Choices, FloatRange, Grid, IntegerRange, Parameter, Point, Scalar, Search
from ml_server.training.plans import TrainingPlan
from servicekit.errors import InvalidArgument, Reason

TRIALS = 20
MAX_TRIALS = 10_000
CLOSE = 0.5  # as difflib counts: below it a suggestion would only confuse


@dataclass(frozen=True)
class Probe:
    """A plan that a search would make, to be checked like any other. `index` is that of the parameter in question."""

    index: int
    path: str
    value: Scalar
    plan: TrainingPlan

    def refused(self, cause: str) -> InvalidArgument:
        """What a caller gets whose parameter makes no valid plan."""
        return _refused(self.index, self.path, f"value {self.value!r} makes no valid plan: {cause}")


def checked(plan: TrainingPlan, search: Search) -> list[Probe]:
    """A plan for each bound and each choice of each parameter.

    Raises:
        InvalidArgument: A parameter's path is none of a plan's fields, its values are not of the field's type, it never
            counts, or a bound makes no valid plan. Names the parameter.
    """
    paths = [parameter.path for parameter in search.parameters]
    for index, parameter in enumerate(search.parameters):
        if parameter.path in paths[:index]:
            raise _refused(index, parameter.path, "there are two parameters of this path: leave one of them out")
        field = _field(index, parameter.path)
        _check_type(index, parameter, field)
        _check_counts(index, field, plan, search)
    probes = []
    for index, parameter in enumerate(search.parameters):
        for value in _bounds(parameter):
            point = _alone(parameter.path, value, search)
            try:
                probes.append(Probe(index, parameter.path, value, with_values(plan, point)))
            except ValidationError as error:
                cause = error.errors()[0]
                place = ".".join(str(part) for part in cause["loc"])
                message = f"value {value!r} makes no valid plan: {place}: {cause['msg']}"
                raise _refused(index, parameter.path, message) from error
    return probes


def counting(plan: TrainingPlan, search: Search, point: Mapping[str, Scalar]) -> Iterator[Parameter]:
    """The parameters that count given those choices of members that `point` has, choices of members first."""
    members = chosen_members(plan, point)
    fields = plan_fields()
    for parameter in sorted(search.parameters, key=lambda each: not fields[each.path].is_choice_of_member):
        field = fields[parameter.path]
        if not field.member or members[field.union] == field.member:
            yield parameter


def choices_of_members(search: Search) -> list[Parameter]:
    """The parameters on which it depends whether others count."""
    return [each for each in search.parameters if plan_fields()[each.path].is_choice_of_member]


def total_trials(plan: TrainingPlan, search: Search) -> int:
    """At most how many trials a search makes.

    Raises:
        InvalidArgument: The grid is too large to be tried as a whole, and no limit is set.
    """
    if not isinstance(search.sampler, Grid):
        return search.max_trials or TRIALS
    size = sum(math.prod(len(values) for _, values in block) for block in _grid(plan, search, search.sampler.points))
    if not search.max_trials and size > MAX_TRIALS:
        message = f"the grid has {size} points, the most is {MAX_TRIALS}: set max_trials, or take fewer values"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="sweep.max_trials")
    return min(size, search.max_trials or MAX_TRIALS)


def grid_point(plan: TrainingPlan, search: Search, points: int, number: int) -> Point:
    """The point of a trial, numbered from 1, in a grid with so many values of each range."""
    index = number - 1
    for block in _grid(plan, search, points):
        size = math.prod(len(values) for _, values in block)
        if index < size:
            break
        index -= size
    else:
        raise IndexError(f"the grid has no point {number}")
    point: Point = {}
    for path, values in reversed(block):
        index, place = divmod(index, len(values))
        point[path] = values[place]
    return {path: point[path] for path, _ in block}


def _grid(plan: TrainingPlan, search: Search, points: int) -> Iterator[list[tuple[str, tuple[Scalar, ...]]]]:
    """For each combination of members, the parameters that count with it, each with its values."""
    choices = choices_of_members(search)
    for combination in itertools.product(*(_spread(each, points) for each in choices)):
        members = dict(zip((each.path for each in choices), combination, strict=True))
        yield [
            (each.path, (members[each.path],) if each.path in members else _spread(each, points))
            for each in counting(plan, search, members)
        ]


def _spread(parameter: Parameter, points: int) -> tuple[Scalar, ...]:
    """Values evenly spread over a parameter's range, its bounds among them; all choices."""
    match parameter.values:
        case Choices(values=values):
            return values
        case FloatRange(min=low, max=high, log=log):
            spread = _between(low, high, points, log=log)
            return (low, *spread[1:-1], high) if points > 1 else (low,)
        case IntegerRange(min=low, max=high, step=step, log=log):
            steps = (high - low) // step
            if steps < points:
                return tuple(range(low, high + 1, step))
            if log:
                return tuple(dict.fromkeys(round(each) for each in _between(low, high, points, log=True)))
            return tuple(low + step * round(each) for each in _between(0, steps, points, log=False))


def _between(low: float, high: float, points: int, *, log: bool) -> list[float]:
    shares = [index / (points - 1) for index in range(points)] if points > 1 else [0.0]
    if log:
        return [low * (high / low) ** share for share in shares]
    return [low + (high - low) * share for share in shares]


def _bounds(parameter: Parameter) -> tuple[Scalar, ...]:
    match parameter.values:
        case Choices(values=values):
            return values
        case IntegerRange() as integers:
            return integers.min, integers.highest
        case FloatRange(min=low, max=high):
            return low, high


def _alone(path: str, value: Scalar, search: Search) -> Point:
    """A point with just this value, and what its field needs to be there."""
    field = plan_fields()[path]
    point: Point = {path: value}
    member = str(value) if field.is_choice_of_member else field.member
    if member:
        point[field.union] = member
        for other in search.parameters:
            its_field = plan_fields()[other.path]
            if (its_field.union, its_field.member) == (field.union, member):
                point.setdefault(other.path, _bounds(other)[0])
    return point


def _field(index: int, path: str) -> PlanField:
    field = plan_fields().get(path)
    if field is None:
        close = difflib.get_close_matches(path, plan_fields(), n=3, cutoff=CLOSE)
        remedy = f"did you mean {' or '.join(close)}?" if close else f"take one of {', '.join(plan_fields())}"
        raise _refused(index, path, f"a plan has no such field that could vary: {remedy}")
    return field


def _check_type(index: int, parameter: Parameter, field: PlanField) -> None:
    values = parameter.values
    of_another_type = field.type is not (float if isinstance(values, FloatRange) else int)
    if not isinstance(values, Choices) and of_another_type:
        raise _refused(index, parameter.path, f"the field holds {_TYPE_NAMES[field.type]}: {_REMEDIES[field.type]}")
    if not isinstance(values, Choices):
        return
    if len(set(values.values)) < len(values.values):
        raise _refused(index, parameter.path, "a choice stands there twice: leave one of them out")
    for value in values.values:
        fits = type(value) is field.type or (field.type is float and type(value) is int)
        if not fits or (field.names and value not in field.names):
            wanted = f"one of {', '.join(field.names)}" if field.names else _TYPE_NAMES[field.type]
            raise _refused(index, parameter.path, f"choice {value!r} is not {wanted}")


def _check_counts(index: int, field: PlanField, plan: TrainingPlan, search: Search) -> None:
    """Raises InvalidArgument if no trial would ever have the member that a field belongs to."""
    if not field.member:
        return
    chosen = [each for each in search.parameters if each.path == field.union]
    members = _bounds(chosen[0]) if chosen else (getattr(plan, field.union).kind,)
    if field.member not in members:
        raise _refused(
            index,
            field.path,
            f"no trial has the {field.union} {field.member}, only {', '.join(map(str, members))}: "
            f"set it in the plan, or add a parameter '{field.union}' with that choice",
        )


def _refused(index: int, path: str, problem: str) -> InvalidArgument:
    message = f"parameter '{path}': {problem}"
    return InvalidArgument(Reason.INVALID_FIELD, message, field=f"sweep.parameters[{index}]")


_REMEDIES = {
    bool: "take choices",
    int: "take an integer range or choices",
    float: "take a float range or choices",
    str: "take choices",
}
_TYPE_NAMES = {bool: "true or false", int: "integers", float: "floating-point numbers", str: "names"}
