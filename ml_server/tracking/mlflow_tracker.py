"""Shows trainings in MLflow: each job is a run of one experiment."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from ml_server.tracking.series import epoch_series, metric_series
from ml_server.tracking.tracker import StateChanged, TrackedEvent, TrackedJob
from ml_server.training.events import EpochFinished, TestFinished, TrainingStarted, VersionCreated
from servicekit.jobs.values import JobState

JOB_TAG = "flare.job"
# What MLflow takes at a time, and as one value.
METRICS = 1000
PARAMETERS = 100
PARAMETER_CHARACTERS = 6000
TAG_CHARACTERS = 5000

_STATUS = {
    JobState.QUEUED: "SCHEDULED",
    JobState.PAUSED: "SCHEDULED",
    JobState.RUNNING: "RUNNING",
    JobState.SUCCEEDED: "FINISHED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "KILLED",
}


class MlflowTracker:
    """Writes runs, found again by the tag `flare.job`.

    Whatever it writes it could write again: parameters, tags and states are set, and numbers have the
    time of their event.
    """

    name = "mlflow"

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        """Connects to nothing yet."""
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._known_client: MlflowClient | None = None
        self._run_ids: dict[str, str] = {}

    def write(self, job: TrackedJob, events: Sequence[TrackedEvent]) -> None:
        """As Tracker says. Raises MlflowException, or what its store raises."""
        try:
            if job.id not in self._run_ids:
                self._run_ids[job.id] = self._found(job) or self._created(job, events)
            self._log_series(self._run_ids[job.id], events)
            for event in events:
                self._log(self._run_ids[job.id], job, event)
        except BaseException:
            self.leave(job)  # it is looked up anew, in case somebody deleted it
            raise

    def leave(self, job: TrackedJob) -> None:
        """As Tracker says."""
        self._run_ids.pop(job.id, None)

    @property
    def _client(self) -> MlflowClient:
        if self._known_client is None:  # a database is brought up to date, which takes seconds
            self._known_client = MlflowClient(tracking_uri=self._tracking_uri)
        return self._known_client

    def _found(self, job: TrackedJob) -> str:
        """The id of the job's run of an earlier attempt, or of a server before this; empty for none."""
        runs: list[Run] = self._client.search_runs(
            [self._experiment_id()], f"tags.`{JOB_TAG}` = '{job.name}'", max_results=1
        )
        return str(runs[0].info.run_id) if runs else ""

    def _created(self, job: TrackedJob, events: Sequence[TrackedEvent]) -> str:
        began = next((each for each in events if _is_start(each)), events[0])
        tags = {
            JOB_TAG: job.name,
            "flare.owner": job.owner,
            "flare.model": f"models/{job.model}",
            "flare.view": job.view,
            "flare.view_digest": job.view_digest,
            "flare.base_version": job.base_version,
            "flare.sweep": job.sweep,
            "mlflow.user": job.owner,
            "mlflow.source.name": "flare",
        }
        known = {tag: value for tag, value in tags.items() if value}
        name = f"{job.model}-{job.id[:8]}"
        run = self._client.create_run(self._experiment_id(), _milliseconds(began.time), known, name)
        return str(run.info.run_id)

    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            try:
                return str(self._client.create_experiment(self._experiment))
            except MlflowException:  # another server made it meanwhile
                known = self._client.get_experiment_by_name(self._experiment)
                if known is None:
                    raise
        return str(known.experiment_id)

    def _log(self, run_id: str, job: TrackedJob, event: TrackedEvent) -> None:
        match event.content:
            case StateChanged(JobState.RUNNING):
                self._log_parameters(run_id, job)
                self._tag(run_id, {"attempts": event.attempt})
                self._client.update_run(run_id, _STATUS[JobState.RUNNING])
            case StateChanged(state, error):
                if error:
                    self._tag(run_id, {"error": error})
                if state.is_final:
                    self._client.set_terminated(run_id, _STATUS[state], _milliseconds(event.time))
                elif state in _STATUS:
                    self._client.update_run(run_id, _STATUS[state])
            case TrainingStarted() as started:
                about = {
                    "device": started.device,
                    "parameters": started.parameter_count,
                    "features": started.feature_count,
                    "train_rows": started.train_rows,
                    "validation_rows": started.validation_rows,
                    "test_rows": started.test_rows,
                }
                self._tag(run_id, about)
            case TestFinished() as test:
                self._tag(run_id, {"best_epoch": test.best_epoch})
            case VersionCreated(version):
                self._tag(run_id, {"version": version})
            case _:
                pass

    def _log_parameters(self, run_id: str, job: TrackedJob) -> None:
        parameters = [Param(name, str(value)[:PARAMETER_CHARACTERS]) for name, value in job.parameters.items()]
        for start in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(run_id, params=parameters[start : start + PARAMETERS])

    def _log_series(self, run_id: str, events: Sequence[TrackedEvent]) -> None:
        """Logs the numbers of all events in few calls, since short epochs end faster than a server answers.

        MLflow keeps the same numbers, of the same time, once, however often they are sent.
        """
        metrics = [metric for event in events for metric in _metrics(event)]
        for start in range(0, len(metrics), METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS])

    def _tag(self, run_id: str, values: Mapping[str, object]) -> None:
        tags = [RunTag(f"flare.{name}", str(value)[:TAG_CHARACTERS]) for name, value in values.items()]
        self._client.log_batch(run_id, tags=tags)


def _metrics(event: TrackedEvent) -> list[Metric]:
    match event.content:
        case EpochFinished() as epoch:
            step, series = epoch.epoch, epoch_series(epoch)
        case TestFinished() as test:
            step, series = test.best_epoch, metric_series("test", test.metrics)
        case _:
            return []
    return [Metric(name, value, _milliseconds(event.time), step) for name, value in series.items()]


def _is_start(event: TrackedEvent) -> bool:
    return isinstance(event.content, StateChanged) and event.content.state is JobState.RUNNING


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
