"""Fields of a training plan by their paths, such as `learning_rate` and `optimizer.adamw.weight_decay`."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from ml_server.sweeps.values import Point, Scalar
from ml_server.training.plans import TrainingPlan

KIND = "kind"
SCALARS = (bool, int, float, str)
# Where and how safely a trial trains, and what serves it, is no matter of finding a good one.
NOT_SEARCHED = frozenset(
    {"device", "max_attempts", "max_seconds", "checkpoint_seconds", "deterministic", "compile", "engine", "workers"}
)


@dataclass(frozen=True)
class PlanField:
    """A field that a parameter may vary. `union` and `member` are set if it belongs to one member of a union."""

    path: str
    type: type[bool] | type[int] | type[float] | type[str]
    names: tuple[str, ...] = ()
    """The values that a name may take; empty if there is no such list."""
    union: str = ""
    member: str = ""

    @property
    def is_choice_of_member(self) -> bool:
        """True for `optimizer`, whose values are the names of its members."""
        return bool(self.union) and not self.member


@cache
def plan_fields() -> dict[str, PlanField]:
    """Every field that a parameter may vary, by its path, in the order of the plan."""
    return {field.path: field for field in _fields_of(TrainingPlan)}


def _fields_of(value: type[BaseModel]) -> Iterator[PlanField]:
    for name, info in value.model_fields.items():
        if name in NOT_SEARCHED:
            continue
        types_of = [each for each in _alternatives(info.annotation) if each is not type(None)]
        models = [each for each in types_of if isinstance(each, type) and issubclass(each, BaseModel)]
        if len(models) > 1:
            yield PlanField(name, str, tuple(_kind(model) for model in models), union=name)
            for model in models:
                for path, scalar in _scalars_of(model):
                    yield PlanField(f"{name}.{_kind(model)}.{path}", *scalar, union=name, member=_kind(model))
        elif models:
            for path, scalar in _scalars_of(models[0]):
                yield PlanField(f"{name}.{path}", *scalar)
        elif len(types_of) == 1 and (scalar_type := _scalar(types_of[0])):
            yield PlanField(name, *scalar_type)


def _scalars_of(model: type[BaseModel]) -> Iterator[tuple[str, tuple[Any, tuple[str, ...]]]]:
    for name, info in model.model_fields.items():
        if name != KIND and (scalar := _scalar(info.annotation)):
            yield name, scalar


def _scalar(annotation: Any) -> tuple[Any, tuple[str, ...]] | None:
    if annotation in SCALARS:
        return annotation, ()
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return str, tuple(each.value for each in annotation)
    return None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _kind(model: type[BaseModel]) -> str:
    literal = model.model_fields[KIND].annotation
    assert get_origin(literal) is Literal
    return str(get_args(literal)[0])


def chosen_members(plan: TrainingPlan, point: Mapping[str, Scalar]) -> dict[str, str]:
    """The member of each union that a plan has with these values: `{"optimizer": "adamw", ...}`."""
    return {
        field.path: str(point.get(field.path, getattr(plan, field.path).kind))
        for field in plan_fields().values()
        if field.is_choice_of_member
    }


def with_values(plan: TrainingPlan, point: Point) -> TrainingPlan:
    """The plan with these values in its fields. A member that is newly chosen begins with its defaults.

    Raises:
        ValidationError: A value is out of bounds, or a chosen member lacks a value that has no default.
    """
    values = plan.model_dump()
    for union, member in chosen_members(plan, point).items():
        if values[union][KIND] != member:
            values[union] = {KIND: member}
    for path, value in point.items():
        field = plan_fields()[path]
        if field.is_choice_of_member:
            continue
        *holders, name = path.replace(f"{field.union}.{field.member}.", f"{field.union}.", 1).split(".")
        holder = values
        for each in holders:
            if holder[each] is None:  # such as early stopping, which the plan does without
                holder[each] = {}
            holder = holder[each]
        holder[name] = value
    return TrainingPlan.model_validate(values)
