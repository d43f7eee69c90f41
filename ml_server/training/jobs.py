"""What people do with training jobs: start, look at, cancel and follow them."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any, Self

import torch

from ml_server.networks.frozen_blocks import freeze, require_learning
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.specification import ModelSpecification
from ml_server.networks.values import Value
from ml_server.registry.models import Models
from ml_server.registry.store import ModelStore
from ml_server.registry.values import VersionReference
from ml_server.training.augmentation import check_augmentation
from ml_server.training.base_version import BaseNetwork, BaseVersion
from ml_server.training.executors.executor import Executor
from ml_server.training.plans import TrainingPlan
from ml_server.training.record import TrainingRecord
from ml_server.views.values import ViewSource
from servicekit.idempotency import RequestKey
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Job

KIND = "trainingJobs"
NETWORK = "specification"


class TrainingSpec(Value):
    """What a job is to do; stored with it. The model is meant by its uid: its name may pass to another one."""

    model_id: str
    model_uid: str
    view: str
    view_digest: str
    plan: TrainingPlan
    specification: ModelSpecification | None = None
    """The model's own when the job was asked for; None for jobs from before it was kept, and where it is left out."""
    base: BaseVersion | None = None
    sweep: str = ""
    """The id of the sweep that it is a trial of; empty for a job of its own."""

    @classmethod
    def of(cls, job: Job, *, with_network: bool = True) -> Self:
        """That of a job; without its network, which may be large, for those who look at many."""
        return cls.model_validate({name: each for name, each in job.spec.items() if with_network or name != NETWORK})

    def needs(self, model_id: str, version: int | None = None) -> bool:
        """True if it needs a version or, if that is None, anything of a model."""
        if version is None and self.model_id == model_id:
            return True
        return self.base is not None and self.base.model_id == model_id and version in (None, self.base.number)

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
    base_version: str = ""
    """By number, by alias, or as the latest; empty for none."""


class TrainingJobs:
    """The rules around the store of training jobs."""

    def __init__(
        self, store: JobStore, models: ModelStore, rules: Models, views: ViewSource, executor: Executor
    ) -> None:
        self._store = store
        self._models = models
        self._rules = rules
        self._views = views
        self._executor = executor

    async def create(self, owner: str, new: NewTraining, request: RequestKey | None) -> Job:
        """Queues a training whose model fits its view.

        Raises:
            NotFound: The owner has no such model, view or base version.
            InvalidArgument: The model does not fit the view, the base version not the model, the plan not the network,
                or the precision not the device.
            FailedPrecondition: DEVICE_UNAVAILABLE.
        """
        spec = await self.check(owner, new)
        return await self._store.create(
            uuid.uuid4().hex[:20],
            owner,
            spec.to_json(),
            new.plan.max_attempts,
            request,
            new.priority,
            self._executor.check(new.plan),
        )

    async def check(self, owner: str, new: NewTraining) -> TrainingSpec:
        """Raises what `create` would, and starts nothing."""
        model = await self._models.get(owner, new.model_id)
        view = await self._views.get(new.view)
        base, network = await self._base(owner, new.base_version) if new.base_version else (None, None)
        known = network.preprocessing if network else None
        config, _ = await self._rules.fit_to_view(model.specification, view, known)
        await asyncio.to_thread(_check_network, config, len(view.inputs), new.plan, network)
        self._executor.check(new.plan)
        return TrainingSpec(
            model_id=model.id,
            model_uid=model.uid,
            view=view.name,
            view_digest=view.digest,
            plan=new.plan,
            specification=model.specification,
            base=base,
        )

    async def _base(self, owner: str, name: str) -> tuple[BaseVersion, BaseNetwork]:
        version = await self._models.version(owner, VersionReference.parse(name))
        base = BaseVersion(model_id=version.model.id, model_uid=version.model.uid, number=version.number)
        files = await self._rules.files(version)
        return base, await asyncio.to_thread(BaseNetwork.read, base.name, files)


def _check_network(config: ModelConfig, input_count: int, plan: TrainingPlan, base: BaseNetwork | None) -> None:
    """Raises InvalidArgument if a network can't train as the plan wants it to."""
    check_augmentation(plan.augmentation, config, input_count)
    if base is None and not plan.frozen_blocks:
        return
    with torch.device("meta"):
        model = build_model(config)
    if base is not None:
        base.require_fit(model)
    if plan.frozen_blocks:
        freeze(model, plan.frozen_blocks)
        require_learning(model)


async def needed_by(store: JobStore, owner: str, model_id: str, version: int | None = None) -> str:
    """The name of a job of an owner that has not ended and needs a version or, if that is None, anything of a model.

    Empty if there is none.
    """
    for job in await store.unfinished(owner):
        if TrainingSpec.of(job, with_network=False).needs(model_id, version):
            return f"{KIND}/{job.id}"
    return ""


def record_of(job: Job) -> TrainingRecord:
    """What a job was made with, as far as it is known."""
    return TrainingRecord.model_validate(job.result.get("record", {}) if job.result else {})


def version_name(job: Job) -> str:
    """The version that a job made, empty if it made none."""
    return str(job.result["version"]) if job.result else ""
