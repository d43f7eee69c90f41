"""A training plan from the words that people use for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import grpc
from flare.ml.v1 import training_job_pb2 as pb
from flare.ml.v1.engine_pb2 import Engine
from google.protobuf.message import Message

from flare_client.choices import choose
from flare_client.errors import FlareError, Violation

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
SCHEDULES = ("constant", "step", "cosine", "one_cycle", "reduce_on_plateau")
LOSSES = {
    "mse": "regression_loss",
    "mae": "regression_loss",
    "huber": "regression_loss",
    "cross_entropy": "classification_loss",
    "binary_cross_entropy": "classification_loss",
    "focal": "classification_loss",
}


class PlanOptions(TypedDict, total=False):
    """How to train; what is left out takes the default of the contract.

    `patience` and `min_delta` ask for early stopping. `momentum` is for sgd and rmsprop, `nesterov` for sgd alone,
    `step_epochs` and `step_factor` for the schedule `step`, `final_fraction` for `cosine`, `rise_fraction`,
    `start_divisor` and `end_divisor` for `one_cycle`, and those that begin with `plateau_` for `reduce_on_plateau`.
    `loss` is one loss or several, for targets that are numbers (`mse`, `mae`, `huber` with `huber_delta`) and for those
    that are classes (`cross_entropy` with `label_smoothing`, `binary_cross_entropy`, `focal` with `focal_gamma`).
    `class_weights` is `balanced`, or weights by class, or these by target. `frozen_blocks` are beginnings of
    parameters' names, up to a dot. `augmentation` says how training images change: `{"horizontal_flip": 0.5,
    "crop_padding": 2, "rotation_degrees": 10, "brightness": 0.2}`, also `vertical_flip`, `contrast` and `saturation`.
    Durations are in seconds.
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
    rise_fraction: float
    start_divisor: float
    end_divisor: float
    plateau_patience: int
    plateau_factor: float
    plateau_min_delta: float
    plateau_min_learning_rate: float
    warmup_steps: int
    gradient_clip_norm: float
    accumulation_steps: int
    loss: str | Sequence[str]
    huber_delta: float
    label_smoothing: float
    focal_gamma: float
    class_weights: str | Mapping[str, float] | Mapping[str, Mapping[str, float]]
    patience: int
    min_delta: float
    max_steps: int
    max_duration: float
    seed: int
    device: str
    precision: str
    compile: bool
    deterministic: bool
    checkpoint_interval: float
    max_attempts: int
    engine: str
    frozen_blocks: Sequence[str]
    augmentation: Mapping[str, float]
    workers: int


_SAME_IN_PLAN = (
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_steps",
    "gradient_clip_norm",
    "accumulation_steps",
    "max_steps",
    "seed",
    "device",
    "compile",
    "deterministic",
    "max_attempts",
    "workers",
)
_DURATIONS = ("max_duration", "checkpoint_interval")
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
    "one_cycle": {name: name for name in ("rise_fraction", "start_divisor", "end_divisor")},
    "reduce_on_plateau": {
        "plateau_patience": "patience",
        "plateau_factor": "factor",
        "plateau_min_delta": "min_delta",
        "plateau_min_learning_rate": "min_learning_rate",
    },
}
_LOSS_OPTIONS = {
    "huber": {"huber_delta": "delta"},
    "cross_entropy": {"label_smoothing": "label_smoothing"},
    "focal": {"focal_gamma": "gamma"},
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
    for name in _DURATIONS:
        if name in given:
            getattr(plan, name).FromNanoseconds(round(float(str(given.pop(name))) * 1e9))
    plan.precision = choose("precision", str(given.pop("precision", "")), pb.Precision)
    plan.engine = choose("engine", str(given.pop("engine", "")), Engine)
    blocks = given.pop("frozen_blocks", ())
    plan.frozen_blocks.extend([blocks] if isinstance(blocks, str) else blocks)  # type: ignore[arg-type]
    if changes := given.pop("augmentation", None):
        plan.augmentation.CopyFrom(_augmentation(changes))
    _set_losses(plan, given)
    if weights := given.pop("class_weights", None):
        plan.class_weights.CopyFrom(_class_weights(weights))
    optimizer_options = {name: name for name in _OPTIMIZER_OPTIONS[optimizer]}
    _fill(getattr(plan, optimizer), optimizer_options, given, is_chosen="optimizer" in options)
    _fill(getattr(plan, schedule), _SCHEDULE_OPTIONS[schedule], given, is_chosen="schedule" in options)
    _fill(plan.early_stopping, {"patience": "patience", "min_delta": "min_delta"}, given, is_chosen=False)
    if given:
        name = next(iter(given))
        if name not in PlanOptions.__annotations__:
            raise _refused(name, f"there is no option {name!r}: take one of {', '.join(PlanOptions.__annotations__)}")
        raise _refused(name, f"{name} does not go with the optimizer {optimizer}, the schedule {schedule} and the loss")
    return plan


def _set_losses(plan: pb.TrainingPlan, given: dict[str, object]) -> None:
    wanted = given.pop("loss", ())
    names = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]  # type: ignore[attr-defined]
    kinds = dict[str, str]()
    for name in filter(None, names):
        _check("loss", name, tuple(LOSSES))
        if (other := kinds.setdefault(LOSSES[name], name)) != name:
            raise _refused("loss", f"{other} and {name} are for the same targets: take one of them")
        _fill(getattr(plan, name), _LOSS_OPTIONS.get(name, {}), given, is_chosen=True)
    if "label_smoothing" in given and "classification_loss" not in kinds:
        _fill(plan.cross_entropy, _LOSS_OPTIONS["cross_entropy"], given, is_chosen=True)


def _augmentation(changes: object) -> pb.ImageAugmentation:
    known = [field.name for field in pb.ImageAugmentation.DESCRIPTOR.fields]
    if not isinstance(changes, Mapping):
        raise _refused("augmentation", f"augmentation {changes!r} is not numbers by name: take {', '.join(known)}")
    message = pb.ImageAugmentation()
    for name, most in changes.items():
        _check("augmentation", str(name), tuple(known))
        if name == "crop_padding" and int(most) != most:
            raise _refused("augmentation", f"crop_padding {most!r} is no whole number of pixels")
        setattr(message, name, int(most) if name == "crop_padding" else float(most))
    return message


def _class_weights(weights: object) -> pb.ClassWeights:
    if weights == "balanced":
        return pb.ClassWeights(balanced=True)
    if not isinstance(weights, Mapping):
        raise _refused("class_weights", f"class_weights {weights!r} is neither 'balanced' nor weights by class")
    message = pb.ClassWeights()
    for name, value in weights.items():
        by_class = value if isinstance(value, Mapping) else {name: value}
        target = str(name) if isinstance(value, Mapping) else ""
        for label, weight in by_class.items():
            message.weights.add(target=target, class_label=str(label), weight=float(weight))
    return message


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
