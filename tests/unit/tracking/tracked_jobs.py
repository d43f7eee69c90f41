"""The log of a training, as trackers are told of it."""

from datetime import UTC, datetime, timedelta

from ml_server.registry.values import Metric
from ml_server.tracking.tracker import Content, StateChanged, TrackedEvent, TrackedJob
from ml_server.training.events import EpochFinished, TestFinished, TrainingStarted, TrainingWarning, VersionCreated
from ml_server.training.jobs import TrainingSpec
from ml_server.training.plans import Sgd, TrainingPlan
from servicekit.jobs.values import Job, JobState

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = TrainingSpec(
    model_id="tumours",
    model_uid="u" * 8,
    view="datasets/breast-cancer/views/main",
    view_digest="d" * 64,
    sweep="s1",
    plan=TrainingPlan(epochs=3, optimizer=Sgd(momentum=0.5), learning_rate=0.02, compile=False),
)
STARTED = TrainingStarted(
    device="cpu",
    parameter_count=1202,
    feature_count=30,
    train_rows=300,
    validation_rows=60,
    test_rows=61,
    steps_per_epoch=5,
    resumed_epochs=0,
    seed=3,
)


def job_of(job_id: str) -> TrackedJob:
    """A training as it is before it begins."""
    return TrackedJob.of(
        Job(job_id, "accounts/ann", SPEC.to_json(), JobState.RUNNING, max_attempts=3, create_time=BEGAN)
    )


def epoch(number: int) -> EpochFinished:
    """The end of an epoch, with numbers of its own."""
    return EpochFinished(
        epoch=number,
        train_loss=1 / number,
        validation_loss=2 / number,
        validation_metrics=(Metric("accuracy", "area (mm²)", 0.5 + number / 100), Metric("subset", "", 0.25)),
        learning_rate=0.02 / number,
        seconds=1.5,
        samples_per_second=200.0,
        is_best=True,
    )


TESTED = TestFinished((Metric("accuracy", "area (mm²)", 0.875),), best_epoch=3)


def told(*contents: Content, first: int = 1, attempt: int = 1) -> list[TrackedEvent]:
    """Events of a log, a second apart."""
    return [
        TrackedEvent(sequence, BEGAN + timedelta(seconds=sequence), attempt, content)
        for sequence, content in enumerate(contents, first)
    ]


RUNNING = StateChanged(JobState.RUNNING, "")
WHOLE = told(
    RUNNING,
    STARTED,
    TrainingWarning("mind the gap"),
    epoch(1),
    epoch(2),
    epoch(3),
    TESTED,
    VersionCreated("models/tumours/versions/4"),
    StateChanged(JobState.SUCCEEDED, ""),
)
