"""What happens in a training. Each event's fields are those of the message of the same name in the contract."""

from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from typing import Any

from ml_server.registry.values import ClassificationReport, ClassMetrics, Metric
from servicekit.jobs.values import EventDraft


@dataclass(frozen=True)
class DataFetched:
    """Rows of the view arrived."""

    rows: int
    total_rows: int
    cached: bool


@dataclass(frozen=True)
class TrainingStarted:
    """The loop starts, or goes on after `resumed_epochs`."""

    device: str
    parameter_count: int
    feature_count: int
    train_rows: int
    validation_rows: int
    test_rows: int
    steps_per_epoch: int
    resumed_epochs: int
    seed: int
    resumed_epoch_steps: int = 0


@dataclass(frozen=True)
class Progress:
    """Where the loop is. `best_epoch` is 0 before the first epoch ended; `best_validation_loss` is None then."""

    finished_epochs: int
    total_epochs: int
    epoch_steps: int
    total_epoch_steps: int
    train_loss: float
    samples_per_second: float
    remaining_seconds: float
    best_epoch: int
    best_validation_loss: float | None


@dataclass(frozen=True)
class EpochFinished:
    """An epoch ended. Metrics and reports are those of the validation rows."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_metrics: tuple[Metric, ...]
    learning_rate: float
    seconds: float
    samples_per_second: float
    is_best: bool
    validation_reports: tuple[ClassificationReport, ...] = ()


@dataclass(frozen=True)
class CheckpointSaved:
    """A lost attempt would go on from here."""

    epoch: int
    size_bytes: int
    epoch_steps: int = 0


class LimitKind(StrEnum):
    """A limit of the plan."""

    STEPS = "steps"
    DURATION = "duration"


@dataclass(frozen=True)
class LimitReached:
    """A limit of the plan ended the loop before its last epoch, after so many steps in all."""

    kind: LimitKind
    steps: int


@dataclass(frozen=True)
class EarlyStopped:
    """Validation no longer got better."""

    epoch: int
    best_epoch: int


@dataclass(frozen=True)
class TestFinished:
    """The kept weights were measured on the test rows."""

    metrics: tuple[Metric, ...]
    best_epoch: int
    reports: tuple[ClassificationReport, ...] = ()


@dataclass(frozen=True)
class VersionCreated:
    """The version is there."""

    version: str


@dataclass(frozen=True)
class TrainingWarning:
    """Something that the job's owner should know."""

    message: str


TrainingEvent = (
    DataFetched
    | TrainingStarted
    | Progress
    | EpochFinished
    | CheckpointSaved
    | EarlyStopped
    | LimitReached
    | TestFinished
    | VersionCreated
    | TrainingWarning
)

KINDS: dict[type[TrainingEvent], str] = {
    DataFetched: "data_fetched",
    TrainingStarted: "training_started",
    Progress: "progress",
    EpochFinished: "epoch_finished",
    CheckpointSaved: "checkpoint_saved",
    EarlyStopped: "early_stopped",
    LimitReached: "limit_reached",
    TestFinished: "test_finished",
    VersionCreated: "version_created",
    TrainingWarning: "warning",
}
METRICS = frozenset({KINDS[Progress]})
"""Kinds of which a newer event makes an older one worthless."""
_CLASSES = {kind: event for event, kind in KINDS.items()}


def draft_of(event: TrainingEvent) -> EventDraft:
    """The event as the job's log takes it."""
    return EventDraft(KINDS[type(event)], {name: _plain(value) for name, value in vars(event).items()})


def _plain(value: Any) -> Any:
    """A value as JSON has it. Numbers of a matrix are not looked at one by one, as `asdict` would."""
    if is_dataclass(value):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, tuple):
        return list(value) if value and isinstance(value[0], int) else [_plain(part) for part in value]
    return value


def event_of(kind: str, payload: dict[str, Any]) -> TrainingEvent:
    """The event that `draft_of` wrote."""
    values = dict(payload)
    for name in ("metrics", "validation_metrics"):
        if name in values:
            values[name] = tuple(Metric(**metric) for metric in values[name])
    for name in ("reports", "validation_reports"):
        if name in values:
            values[name] = tuple(map(_report, values[name]))
    if "kind" in values:
        values["kind"] = LimitKind(values["kind"])
    return _CLASSES[kind](**values)


def _report(payload: dict[str, Any]) -> ClassificationReport:
    classes = tuple(ClassMetrics(**each) for each in payload["classes"])
    return ClassificationReport(payload["target"], classes, tuple(payload["confusion_matrix"]))
