"""What happens in a sweep, and the story that its events tell."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ml_server.sweeps.values import Point
from servicekit.errors import FlareError
from servicekit.jobs.values import EventDraft


class TrialState(StrEnum):
    """Where a trial is in its life."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Trial:
    """One training of a sweep. `value` is the objective's after `epoch`; `error` is that of a failed one, as JSON."""

    number: int
    training_job: str
    parameters: Point
    state: TrialState = TrialState.RUNNING
    value: float | None = None
    epoch: int = 0
    finished_epochs: int = 0
    error: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Trial":
        """The trial that `asdict` wrote."""
        return cls(**{**value, "state": TrialState(value["state"])})

    @property
    def cause(self) -> FlareError | None:
        """Why it failed."""
        return FlareError.from_json(self.error) if self.error is not None else None


@dataclass(frozen=True)
class TrialStarted:
    """A trial began."""

    trial: Trial


@dataclass(frozen=True)
class TrialPruned:
    """The pruner wants a trial to stop."""

    number: int
    epoch: int
    value: float


@dataclass(frozen=True)
class TrialEnded:
    """A trial ended."""

    trial: Trial


@dataclass(frozen=True)
class BestChanged:
    """The trial that just ended is the best so far."""

    trial: Trial


@dataclass(frozen=True)
class VersionCreated:
    """The best trial became a version."""

    version: str


@dataclass(frozen=True)
class TimeOver:
    """The sweep's time is over; so many trials are asked to end."""

    running_trials: int


SweepEvent = TrialStarted | TrialPruned | TrialEnded | BestChanged | VersionCreated | TimeOver

KINDS: dict[type[SweepEvent], str] = {
    TrialStarted: "trial_started",
    TrialPruned: "trial_pruned",
    TrialEnded: "trial_ended",
    BestChanged: "best_changed",
    VersionCreated: "version_created",
    TimeOver: "time_over",
}
_CLASSES = {kind: event for event, kind in KINDS.items()}


def draft_of(event: SweepEvent) -> EventDraft:
    """The event as the sweep's log takes it."""
    return EventDraft(KINDS[type(event)], asdict(event))


def event_of(kind: str, payload: dict[str, Any]) -> SweepEvent | None:
    """The event that `draft_of` wrote, None if it is one that every job has."""
    if kind not in _CLASSES:
        return None
    if "trial" in payload:
        payload = {"trial": Trial.from_json(payload["trial"])}
    return _CLASSES[kind](**payload)


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: trials by their state, and the best that succeeded."""

    running: int = 0
    succeeded: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0
    best: dict[str, Any] | None = None
    planned: dict[str, Any] | None = None
    """The trial that is about to begin. Its training may be there before the event that tells of it."""

    @property
    def best_trial(self) -> Trial | None:
        """The best trial that has succeeded."""
        return Trial.from_json(self.best) if self.best is not None else None


@dataclass
class Story:
    """A sweep as its events tell it."""

    maximise: bool
    trials: dict[int, Trial] = field(default_factory=dict)
    """By number, in the order in which they began."""
    ended: list[int] = field(default_factory=list)
    """Their numbers in the order in which they ended."""
    pruned: dict[int, TrialPruned] = field(default_factory=dict)
    """What the pruner said of those that it wants to stop."""
    best: Trial | None = None
    planned: Trial | None = None
    time_is_over: bool = False
    version: str = ""

    def take(self, events: Iterable[SweepEvent | None]) -> None:
        """Goes on with the next events."""
        for event in events:
            match event:
                case TrialStarted(trial):
                    self.trials[trial.number] = trial
                    self.planned = None
                case TrialPruned(number):
                    self.pruned[number] = event
                case TrialEnded(trial):
                    self.trials[trial.number] = trial
                    self.ended.append(trial.number)
                case BestChanged(trial):
                    self.best = trial
                case TimeOver():
                    self.time_is_over = True
                case VersionCreated(version):
                    self.version = version

    def is_better(self, trial: Trial) -> bool:
        """True if a trial that succeeded is better than the best one before."""
        if trial.state is not TrialState.SUCCEEDED or trial.value is None:
            return False
        if self.best is None or self.best.value is None:
            return True
        return trial.value > self.best.value if self.maximise else trial.value < self.best.value

    @property
    def running(self) -> list[int]:
        """The numbers of trials that have not ended."""
        return [number for number, trial in self.trials.items() if trial.state is TrialState.RUNNING]

    def progress(self) -> dict[str, Any]:
        """The sweep's progress as the job store keeps it."""
        counts = dict.fromkeys(TrialState, 0)
        for trial in self.trials.values():
            counts[trial.state] += 1
        best = asdict(self.best) if self.best is not None else None
        planned = asdict(self.planned) if self.planned is not None else None
        return asdict(Progress(**{state.value: count for state, count in counts.items()}, best=best, planned=planned))
