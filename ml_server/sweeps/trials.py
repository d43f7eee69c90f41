"""The trainings of a sweep: each is an ordinary training job that is made once and followed to its end."""

import contextlib
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from ml_server.registry.values import version_artifact
from ml_server.sweeps.events import Trial, TrialPruned, TrialState
from ml_server.sweeps.plan_fields import with_values
from ml_server.sweeps.values import Objective, SweepSpec
from ml_server.training.events import KINDS, EpochFinished, event_of
from ml_server.training.plans import TrainingPlan
from servicekit.artifacts import ArtifactStore
from servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from servicekit.idempotency import RequestKey
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Event, Job, JobState

PAGE = 500


def trial_job_id(sweep_id: str, number: int) -> str:
    """The id of a trial's training job: a trial that is begun again after a kill finds the one it made."""
    return f"{sweep_id}-{number}"


def objective_value(objective: Objective, epoch: EpochFinished) -> float | None:
    """What an epoch is worth, None if its metric is not defined for the validation rows."""
    if objective.metric == "validation_loss":
        value = epoch.validation_loss
    else:
        found = [
            metric.value
            for metric in epoch.validation_metrics
            if (metric.name, metric.target) == (objective.metric, objective.target)
        ]
        value = found[0] if found else math.nan
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Reported:
    """An epoch of a trial ended. `is_new` is false for those that had ended before this server followed the trial."""

    epoch: int
    value: float | None
    is_new: bool


@dataclass
class Record:
    """What a training has told so far: values by epoch, and which epoch's weights are kept."""

    values: dict[int, float] = field(default_factory=dict)
    kept_epoch: int = 0
    finished_epochs: int = 0

    def take(self, objective: Objective, event: Event) -> Reported | None:
        """Goes on with an event of the training; what it reports if that was the end of an epoch."""
        if event.kind != KINDS[EpochFinished]:
            return None
        epoch = event_of(event.kind, event.payload)
        assert isinstance(epoch, EpochFinished)
        value = objective_value(objective, epoch)
        self.finished_epochs = epoch.epoch
        if epoch.is_best:
            self.kept_epoch = epoch.epoch
        if value is not None:
            self.values[epoch.epoch] = value
        return Reported(epoch.epoch, value, is_new=True)


class Trials:
    """Makes, follows, cancels and clears away the trials of sweeps."""

    def __init__(
        self,
        jobs: JobStore,
        follower: JobFollower,
        artifacts: ArtifactStore,
        resource_of: Callable[[TrainingPlan], str],
    ) -> None:
        """`jobs` and `follower` are those of training jobs; `resource_of` names what a training has to itself."""
        self._jobs = jobs
        self._resource_of = resource_of
        self._follower = follower
        self._artifacts = artifacts

    async def get(self, sweep: Job, trial: Trial) -> Job:
        """The trial's training job. Raises NotFound, if it was not made."""
        return await self._jobs.get(sweep.owner, trial.training_job)

    async def begin(self, sweep: Job, spec: SweepSpec, trial: Trial) -> Job:
        """The trial's training job, which is made if it is not there yet.

        Raises:
            ValidationError: Its values make no plan.
            FlareError: No training can follow its plan, as TrainingJobs.create says.
        """
        try:
            return await self.get(sweep, trial)
        except NotFound:
            plan = with_values(spec.training.plan, trial.parameters)
        training = spec.training.model_copy(update={"plan": plan, "sweep": sweep.id})
        key = RequestKey(sweep.owner, "BeginTrial", trial.training_job, "")
        return await self._jobs.create(
            trial.training_job,
            sweep.owner,
            training.to_json(),
            plan.max_attempts,
            key,
            sweep.priority,
            self._resource_of(plan),
        )

    async def follow(
        self, owner: str, trial: Trial, objective: Objective, record: Record
    ) -> AsyncGenerator[Reported | Job]:
        """Yields each epoch of a trial as it ends, and the training job when it has ended. Fills in the record."""
        job: Job | None = None
        known = 0
        async with aclosing(self._follower.follow(owner, trial.training_job, 0)) as messages:
            async for message in messages:
                match message:
                    case Job():
                        known = message.last_sequence if job is None else known
                        job = message
                    case Event() if reported := record.take(objective, message):
                        yield replace(reported, is_new=message.sequence > known)
        assert job is not None
        yield job

    async def record(self, trial: Trial, objective: Objective) -> Record:
        """What a trial that has ended told."""
        record, after = Record(), 0
        while page := await self._jobs.events(trial.training_job, after, PAGE):
            for event in page:
                record.take(objective, event)
            after = page[-1].sequence
        return record

    async def cancel(self, owner: str, trial: Trial, *, keep_best: bool = False) -> None:
        """Asks a trial to end, with `keep_best` with its best epoch so far, if it is there and has not ended."""
        with contextlib.suppress(FailedPrecondition, NotFound):
            await self._jobs.request_cancel(owner, trial.training_job, keeps_result=keep_best)

    async def clear(self, model_uid: str, trial: Trial) -> None:
        """Deletes the weights of a trial that has ended."""
        await self._artifacts.delete(version_artifact(model_uid, trial.training_job))


def as_ended(trial: Trial, job: Job, record: Record, pruned: TrialPruned | None, objective: Objective) -> Trial:
    """The trial as its training left it."""
    trial = replace(trial, finished_epochs=record.finished_epochs)
    if pruned is not None:
        return replace(trial, state=TrialState.PRUNED, value=pruned.value, epoch=pruned.epoch)
    if job.state is JobState.FAILED:
        return replace(trial, state=TrialState.FAILED, error=job.error.to_json() if job.error else None)
    if job.result is None:
        return replace(trial, state=TrialState.CANCELLED)
    value = record.values.get(record.kept_epoch)
    if value is None:
        error = InvalidArgument(
            Reason.INVALID_FIELD,
            f"metric '{objective.metric}' is not defined for the validation rows: take another one",
            field="sweep.objective.metric",
        )
        return replace(trial, state=TrialState.FAILED, error=error.to_json())
    return replace(trial, state=TrialState.SUCCEEDED, value=value, epoch=record.kept_epoch)
