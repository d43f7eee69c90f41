"""Runs in a database of MLflow, read back by its own client."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from ml_server.registry.values import Metric
from ml_server.tracking.mlflow_tracker import MlflowTracker
from ml_server.tracking.tracker import StateChanged, TrackedEvent, TrackedJob
from servicekit.jobs.values import JobState
from tests.unit.tracking.tracked_jobs import BEGAN, RUNNING, STARTED, WHOLE, epoch, job_of, told


@pytest.fixture
def job() -> TrackedJob:
    """One of which MLflow knows nothing yet."""
    return job_of(uuid4().hex)


def write(mlflow_uri: str, job: TrackedJob, events: Sequence[TrackedEvent]) -> None:
    """By a tracker of its own, as that of a new server is."""
    MlflowTracker(mlflow_uri, "flare tests").write(job, events)


def run_of(mlflow_uri: str, job: TrackedJob) -> Run:
    """The job's only run."""
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("flare tests")
    assert experiment is not None
    runs: list[Run] = client.search_runs([experiment.experiment_id], f"tags.`flare.job` = 'trainingJobs/{job.id}'")
    (run,) = runs
    return run


def series(mlflow_uri: str, job: TrackedJob, name: str) -> list[tuple[int, float]]:
    client = MlflowClient(tracking_uri=mlflow_uri)
    return [(each.step, each.value) for each in client.get_metric_history(run_of(mlflow_uri, job).info.run_id, name)]


def test_a_job_is_a_run_with_its_plan_its_numbers_and_its_end(mlflow_uri: str, job: TrackedJob) -> None:
    write(mlflow_uri, job, WHOLE)
    run = run_of(mlflow_uri, job)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == (BEGAN.timestamp() + 1) * 1000
    assert run.info.end_time == (BEGAN.timestamp() + 9) * 1000
    assert run.data.params.items() >= {
        ("optimizer.kind", "sgd"),
        ("optimizer.momentum", "0.5"),
        ("learning_rate", "0.02"),
        ("epochs", "3"),
    }
    assert run.data.tags.items() >= {
        ("flare.owner", "accounts/ann"),
        ("flare.model", "models/tumours"),
        ("flare.view", "datasets/breast-cancer/views/main"),
        ("flare.view_digest", "d" * 64),
        ("flare.version", "models/tumours/versions/4"),
        ("flare.device", "cpu"),
        ("flare.sweep", "sweeps/s1"),
        ("flare.attempts", "1"),
        ("mlflow.user", "accounts/ann"),
    }
    assert "flare.base_version" not in run.data.tags
    assert series(mlflow_uri, job, "loss/train") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert series(mlflow_uri, job, "loss/validation") == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    assert series(mlflow_uri, job, "validation/area _mm__/accuracy") == [(1, 0.51), (2, 0.52), (3, 0.53)]
    assert series(mlflow_uri, job, "validation/subset") == [(1, 0.25), (2, 0.25), (3, 0.25)]
    assert series(mlflow_uri, job, "learning_rate") == [(1, 0.02), (2, 0.01), (3, 0.02 / 3)]
    assert series(mlflow_uri, job, "samples_per_second") == [(1, 200.0), (2, 200.0), (3, 200.0)]
    assert series(mlflow_uri, job, "test/area _mm__/accuracy") == [(3, 0.875)]


def test_what_was_told_before_is_not_there_twice(mlflow_uri: str, job: TrackedJob) -> None:
    tracker = MlflowTracker(mlflow_uri, "flare tests")
    tracker.write(job, WHOLE[:5])
    assert run_of(mlflow_uri, job).info.status == "RUNNING"
    tracker.write(job, WHOLE[:6])
    write(mlflow_uri, job, WHOLE)
    write(mlflow_uri, job, WHOLE)
    assert series(mlflow_uri, job, "loss/train") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert series(mlflow_uri, job, "test/area _mm__/accuracy") == [(3, 0.875)]
    assert run_of(mlflow_uri, job).info.status == "FINISHED"


def test_more_numbers_than_mlflow_takes_at_a_time_are_all_there(mlflow_uri: str, job: TrackedJob) -> None:
    metrics = tuple(Metric("accuracy", f"target {number}", number / 1000) for number in range(400))
    epochs = [replace(epoch(number), validation_metrics=metrics) for number in (1, 2, 3)]
    write(mlflow_uri, job, told(RUNNING, *epochs))
    assert [step for step, _ in series(mlflow_uri, job, "validation/target 399/accuracy")] == [1, 2, 3]
    assert len(run_of(mlflow_uri, job).data.metrics) == 404


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [(JobState.FAILED, "the loss became nan", "FAILED"), (JobState.CANCELLED, "", "KILLED")],
)
def test_a_second_attempt_goes_on_in_the_run_of_the_first(
    mlflow_uri: str, job: TrackedJob, state: JobState, error: str, status: str
) -> None:
    write(mlflow_uri, job, told(RUNNING, STARTED, epoch(1), StateChanged(JobState.QUEUED, "the worker died")))
    assert run_of(mlflow_uri, job).info.status == "SCHEDULED"
    write(mlflow_uri, job, told(RUNNING, STARTED, epoch(2), first=5, attempt=2))
    assert run_of(mlflow_uri, job).info.status == "RUNNING"
    write(mlflow_uri, job, told(StateChanged(state, error), first=8, attempt=2))
    run = run_of(mlflow_uri, job)
    assert [step for step, _ in series(mlflow_uri, job, "loss/train")] == [1, 2]
    assert (run.info.status, run.data.tags["flare.attempts"]) == (status, "2")
    assert run.data.tags["flare.error"] == (error or "the worker died")


def test_a_run_that_somebody_deleted_is_made_anew_with_what_is_told_again(mlflow_uri: str, job: TrackedJob) -> None:
    tracker = MlflowTracker(mlflow_uri, "flare tests")
    tracker.write(job, WHOLE[:4])
    MlflowClient(tracking_uri=mlflow_uri).delete_run(run_of(mlflow_uri, job).info.run_id)
    with pytest.raises(Exception, match="active"):
        tracker.write(job, WHOLE[4:])
    tracker.write(job, WHOLE)
    assert series(mlflow_uri, job, "loss/train") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
