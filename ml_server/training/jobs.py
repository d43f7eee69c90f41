"""What people do with training jobs: start, look at, cancel and follow them."""

import uuid
from dataclasses import dataclass
from typing import Any

from ml_server.networks.values import Value
from ml_server.registry.models import Models
from ml_server.registry.store import ModelStore
from ml_server.training.devices import resolve_device
from ml_server.training.plans import Precision, TrainingPlan
from ml_server.views.values import ViewSource
from servicekit.errors import InvalidArgument, Reason
from servicekit.idempotency import RequestKey
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Job

KIND = "trainingJobs"


class TrainingSpec(Value):
    """What a job is to do; stored with it. The model is meant by its uid: its name may pass to another one."""

    model_id: str
    model_uid: str
    view: str
    view_digest: str
    plan: TrainingPlan

    def to_json(self) -> dict[str, Any]:
        """The spec as the job store keeps it."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class NewTraining:
    """A training that somebody asks for."""

    model_id: str
    view: str
    plan: TrainingPlan
    priority: int = 0


class TrainingJobs:
    """The rules around the store of training jobs."""

    def __init__(self, store: JobStore, models: ModelStore, rules: Models, views: ViewSource) -> None:
        self._store = store
        self._models = models
        self._rules = rules
        self._views = views

    async def create(self, owner: str, new: NewTraining, request: RequestKey | None) -> Job:
        """Queues a training whose model fits its view.

        Raises:
            NotFound: The owner has no such model or view.
            InvalidArgument: The model does not fit the view, or the precision not the device.
            FailedPrecondition: DEVICE_UNAVAILABLE.
        """
        spec = await self.check(owner, new)
        return await self._store.create(
            uuid.uuid4().hex[:20], owner, spec.to_json(), new.plan.max_attempts, request, new.priority
        )

    async def check(self, owner: str, new: NewTraining) -> TrainingSpec:
        """Raises what `create` would, and starts nothing."""
        model = await self._models.get(owner, new.model_id)
        view = await self._views.get(new.view)
        await self._rules.fit_to_view(model.specification, view)
        device = resolve_device(new.plan.device)
        if new.plan.precision is Precision.FLOAT16 and device.type != "cuda":
            message = (
                f"precision FLOAT16 needs a CUDA device, and device '{new.plan.device}' is {device}: take BFLOAT16"
            )
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="training_job.plan.precision")
        return TrainingSpec(
            model_id=model.id, model_uid=model.uid, view=view.name, view_digest=view.digest, plan=new.plan
        )


async def is_training(store: JobStore, owner: str, model_id: str) -> bool:
    """True if a job of an owner's model has not ended."""
    return any(job.spec["model_id"] == model_id for job in await store.unfinished(owner))


def version_name(job: Job) -> str:
    """The version that a job made, empty if it made none."""
    return str(job.result["version"]) if job.result else ""
