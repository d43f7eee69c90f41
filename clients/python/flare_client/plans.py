"""A training plan from the words that people use for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import grpc
from flare.ml.v1 import training_job_pb2 as pb
from google.protobuf.message import Message

from flare_client.errors import FlareError, Violation

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
SCHEDULES = ("constant", "step", "cosine")


class PlanOptions(TypedDict, total=False):
    """How to train; what is left out takes the default of the contract.

    `patience` and `min_delta` ask for early stopping. `momentum` is for sgd and rmsprop, `nesterov` for sgd alone,
    `step_epochs` and `step_factor` for the schedule `step`, `final_fraction` for `cosine`.
    """

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    nesterov: bool
    schedule: str
    step_epochs: int
    step_factor: float
    final_fraction: float
    warmup_steps: int
    gradient_clip_norm: float
    patience: int
    min_delta: float
    seed: int
    device: str
    max_attempts: int


_SAME_IN_PLAN = (
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_steps",
    "gradient_clip_norm",
    "seed",
    "device",
    "max_attempts",
)
_OPTIMIZER_OPTIONS = {
    "adam": ("weight_decay",),
    "adamw": ("weight_decay",),
    "sgd": ("momentum", "nesterov", "weight_decay"),
    "rmsprop": ("momentum", "weight_decay"),
    "adagrad": ("weight_decay",),
}
_SCHEDULE_OPTIONS = {
    "constant": dict[str, str](),
    "step": {"step_epochs": "epochs", "step_factor": "factor"},
    "cosine": {"final_fraction": "final_fraction"},
}


def training_plan(options: PlanOptions) -> pb.TrainingPlan:
    """The plan with these options.

    Raises:
        FlareError: An option is not known, or belongs to another optimizer or schedule.
    """
    given: dict[str, object] = {key: value for key, value in options.items() if value is not None}
    optimizer = str(given.pop("optimizer", "") or "adam")
    schedule = str(given.pop("schedule", "") or "constant")
    _check("optimizer", optimizer, OPTIMIZERS)
    _check("schedule", schedule, SCHEDULES)
    plan = pb.TrainingPlan()
    for name in _SAME_IN_PLAN:
        if name in given:
            setattr(plan, name, given.pop(name))
    optimizer_options = {name: name for name in _OPTIMIZER_OPTIONS[optimizer]}
    _fill(getattr(plan, optimizer), optimizer_options, given, is_chosen="optimizer" in options)
    _fill(getattr(plan, schedule), _SCHEDULE_OPTIONS[schedule], given, is_chosen="schedule" in options)
    _fill(plan.early_stopping, {"patience": "patience", "min_delta": "min_delta"}, given, is_chosen=False)
    if given:
        name = next(iter(given))
        if name not in PlanOptions.__annotations__:
            raise _refused(name, f"there is no option {name!r}: take one of {', '.join(PlanOptions.__annotations__)}")
        raise _refused(name, f"{name} does not go with the optimizer {optimizer} and the schedule {schedule}")
    return plan


def _fill(part: Message, fields: Mapping[str, str], given: dict[str, object], *, is_chosen: bool) -> None:
    present = [name for name in fields if name in given]
    for name in present:
        setattr(part, fields[name], given.pop(name))
    if present or is_chosen:
        part.SetInParent()  # it is there also when every field of it has its default


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise _refused(what, f"{what} {name!r} is not one of {', '.join(known)}")


def _refused(field: str, message: str) -> FlareError:
    return FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation(field, message),))
