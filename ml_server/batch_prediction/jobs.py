"""What people do with batch predictions: start, look at, cancel and follow them."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ml_server.batch_prediction.columns import kept_columns
from ml_server.batch_prediction.values import BatchPredictionSpec
from ml_server.registry.bundle import read_preprocessing
from ml_server.registry.store import ModelStore
from ml_server.registry.values import VersionReference
from ml_server.views.fit import misfit
from ml_server.views.values import Part, ViewSource
from servicekit.artifacts import ArtifactStore
from servicekit.errors import AlreadyExists, InvalidArgument, NotFound, Reason
from servicekit.idempotency import RequestKey
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import Job

KIND = "batchPredictions"
# It is lost only with its server or the scraper service, and nothing that it does can be the cause.
MAX_ATTEMPTS = 1_000
REQUESTS = uuid.UUID("5a2c1b52-53a3-4a5b-8d35-c0a1f5ff64c7")


@dataclass(frozen=True)
class NewBatchPrediction:
    """A batch prediction that somebody asks for. `columns` None: all that can be kept."""

    version: str
    view: str
    parts: frozenset[Part]
    columns: tuple[str, ...] | None
    dataset_id: str


class DatasetNames(Protocol):
    """Which data sets there are."""

    async def has_dataset(self, dataset_id: str) -> bool:
        """True if the current caller has a data set of this id. Raises what its service says."""
        ...


class BatchPredictions:
    """The rules around the store of batch predictions."""

    def __init__(
        self, store: JobStore, models: ModelStore, artifacts: ArtifactStore, views: ViewSource, datasets: DatasetNames
    ) -> None:
        self._store = store
        self._models = models
        self._artifacts = artifacts
        self._views = views
        self._datasets = datasets

    async def create(self, owner: str, new: NewBatchPrediction, request: RequestKey | None) -> Job:
        """Queues predictions by a version that fits the view.

        Raises:
            NotFound: The owner has no such version or view.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNSUPPORTED, COLUMN_NOT_FOUND, COLUMN_DUPLICATE or SPLIT_EMPTY.
            AlreadyExists: NAME_TAKEN.
        """
        job_id = uuid.uuid4().hex[:20]
        if request is not None:
            # A repeat finds the job that it made, whose data set may be there by now.
            job_id = uuid.uuid5(REQUESTS, f"{owner} {request.request_id}").hex[:20]
            try:
                job = await self._store.get(owner, job_id)
                return await self._store.create(job_id, owner, job.spec, MAX_ATTEMPTS, request)
            except NotFound:
                pass
        spec = await self.check(owner, new)
        return await self._store.create(job_id, owner, spec.to_json(), MAX_ATTEMPTS, request)

    async def check(self, owner: str, new: NewBatchPrediction) -> BatchPredictionSpec:
        """Raises what `create` would, and starts nothing."""
        version = await self._models.version(owner, VersionReference.parse(new.version))
        view = await self._views.get(new.view)
        preprocessing = await asyncio.to_thread(read_preprocessing, await self._artifacts.fetch(version.artifact))
        found = misfit(preprocessing.features, view)
        if found is not None:
            message = f"{version.name} {found.problem}: predict for a view with the columns that it was trained on"
            raise InvalidArgument(found.reason, message, field="batch_prediction.view", column=found.column)
        columns = kept_columns(view, preprocessing.targets, new.columns)
        parts = tuple(part for part in Part if part in new.parts)
        rows = sum(view.rows[part] for part in parts)
        if not rows:
            message = f"view '{view.name}' has no rows in {_named(parts)}: name parts with rows"
            raise InvalidArgument(Reason.SPLIT_EMPTY, message, field="batch_prediction.parts")
        if await self._datasets.has_dataset(new.dataset_id):
            name = f"datasets/{new.dataset_id}"
            message = f"there is a data set '{name}' already: take another id, or delete that one first"
            raise AlreadyExists(Reason.NAME_TAKEN, message, field="batch_prediction.dataset_id", resource=name)
        return BatchPredictionSpec(
            model_id=version.model.id,
            model_uid=version.model.uid,
            number=version.number,
            version_digest=version.details.digest,
            view=view.name,
            view_digest=view.digest,
            parts=parts,
            columns=columns,
            total_rows=rows,
            dataset_id=new.dataset_id,
        )


def _named(parts: Sequence[Part]) -> str:
    return " and ".join(parts)


async def needed_by(store: JobStore, owner: str, model_id: str, version: int | None = None) -> str:
    """The name of a batch prediction of an owner that has not ended and needs a version or, if None, any of a model.

    Empty if there is none.
    """
    for job in await store.unfinished(owner):
        if BatchPredictionSpec.model_validate(job.spec).needs(model_id, version):
            return f"{KIND}/{job.id}"
    return ""
