"""What people do with sweeps: start, look at, cancel and follow them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from ml_server.sweeps import objectives, search_space
from ml_server.sweeps.events import Story, Trial, TrialState, event_of
from ml_server.sweeps.values import Search, SweepSpec
from ml_server.training.jobs import NewTraining, TrainingJobs
from ml_server.training.plans import TrainingPlan
from ml_server.views.values import ViewSource
from servicekit.errors import InvalidArgument, NotFound
from servicekit.idempotency import RequestKey
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Job

KIND = "sweeps"
# A sweep is lost only with its server, and nothing that it does can be the cause.
MAX_ATTEMPTS = 1_000
PAGE = 1_000
# Fields that not every model or device can follow; the others are right for all or for none.
OF_MODEL_AND_DEVICE = frozenset({"precision", "augmentation"})


@dataclass(frozen=True)
class NewSweep:
    """A sweep that somebody asks for. `training` has what all trials have in common."""

    training: NewTraining
    search: Search


class SweepJobs:
    """The rules around the store of sweeps."""

    def __init__(
        self,
        store: JobStore,
        trainings: TrainingJobs,
        training_store: JobStore,
        views: ViewSource,
        check_plan: Callable[[TrainingPlan], None],
    ) -> None:
        """`check_plan` raises InvalidArgument if a plan is none that somebody could ask for."""
        self._store = store
        self._trainings = trainings
        self._training_store = training_store
        self._views = views
        self._check_plan = check_plan

    async def create(self, owner: str, new: NewSweep, request: RequestKey | None) -> Job:
        """Queues a sweep all of whose parameters make plans.

        Raises:
            NotFound: The owner has no such model or view.
            InvalidArgument: As TrainingJobs.create, and if a parameter or the objective is wrong.
            FailedPrecondition: DEVICE_UNAVAILABLE.
        """
        spec = await self.check(owner, new)
        priority = new.training.priority
        return await self._store.create(uuid.uuid4().hex[:20], owner, spec.to_json(), MAX_ATTEMPTS, request, priority)

    async def check(self, owner: str, new: NewSweep) -> SweepSpec:
        """Raises what `create` would, and starts nothing."""
        plan, search = new.training.plan, new.search
        probes = search_space.checked(plan, search)
        for probe in probes:
            try:
                self._check_plan(probe.plan)
            except InvalidArgument as error:
                raise probe.refused(error.message) from error
        training = await self._trainings.check(owner, new.training)
        for probe in probes:
            if probe.path.partition(".")[0] in OF_MODEL_AND_DEVICE:
                try:
                    await self._trainings.check(owner, replace(new.training, plan=probe.plan))
                except InvalidArgument as error:
                    raise probe.refused(error.message) from error
        view = await self._views.get(new.training.view)
        objective = objectives.resolved(search.objective, view.targets)
        search = search.model_copy(update={"objective": objective})
        return SweepSpec(training=training, search=search, total_trials=search_space.total_trials(plan, search))

    async def trials(self, owner: str, sweep_id: str, after: int, limit: int) -> list[Trial]:
        """The trials of an owner's sweep above a number, in order. Raises NotFound."""
        job = await self._store.get(owner, sweep_id)
        story = await read_story(self._store, job)
        numbers = sorted(number for number in story.trials if number > after)[:limit]
        return [await self._now(owner, story.trials[number]) for number in numbers]

    async def _now(self, owner: str, trial: Trial) -> Trial:
        """The trial with the epochs that its training has finished by now."""
        if trial.state is not TrialState.RUNNING:
            return trial
        try:
            job = await self._training_store.get(owner, trial.training_job)
        except NotFound:  # it begins at this moment
            return trial
        return replace(trial, finished_epochs=job.progress["finished_epochs"] if job.progress else 0)


async def read_story(store: JobStore, job: Job) -> Story:
    """The story that a sweep's events tell so far."""
    story = Story(SweepSpec.model_validate(job.spec).search.objective.maximise)
    after = 0
    while page := await store.events(job.id, after, PAGE):
        story.take(event_of(event.kind, event.payload) for event in page)
        after = page[-1].sequence
    if job.progress and job.progress["planned"] is not None:
        story.planned = Trial.from_json(job.progress["planned"])
    return story


async def needed_by(store: JobStore, owner: str, model_id: str, version: int | None = None) -> str:
    """The name of a sweep of an owner that has not ended and needs a version or, if None, anything of a model.

    Empty if there is none.
    """
    for job in await store.unfinished(owner):
        if SweepSpec.model_validate(job.spec).training.needs(model_id, version):
            return f"{KIND}/{job.id}"
    return ""
