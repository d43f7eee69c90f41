"""What people do with models: make them, name their versions, give them weights, take versions away as files."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from ml_server.features.fit import expected_layout
from ml_server.features.targets import expected_outputs
from ml_server.networks.manageable_model import ModelConfig
from ml_server.networks.shapes import ModelSize, check_shapes
from ml_server.networks.specification import ModelSpecification
from ml_server.networks.weights import check_weights
from ml_server.registry.store import ModelStore, model_taken
from ml_server.registry.values import Model, ModelVersion, VersionReference, weights_artifact
from ml_server.views.values import View, ViewSource
from servicekit.artifacts import ArtifactStore
from servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from servicekit.idempotency import RequestKey

T = TypeVar("T")

WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class NewModel:
    """A model that somebody wants to make."""

    id: str
    display_name: str
    specification: ModelSpecification
    view: str = ""


class Models:
    """The rules around the model store."""

    def __init__(
        self,
        store: ModelStore,
        artifacts: ArtifactStore,
        views: ViewSource,
        max_parameters: int,
        is_training: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        """`is_training(owner, model_id)` tells whether a training job of the model has not ended."""
        self._store = store
        self._artifacts = artifacts
        self._views = views
        self._max_parameters = max_parameters
        self._is_training = is_training

    async def create(self, owner: str, new: NewModel, request: RequestKey | None) -> tuple[Model, ModelSize | None]:
        """Makes a model whose shapes fit, and says what it weighs on its view if it names one.

        Raises:
            InvalidArgument: The shapes do not fit, see `fit_to_view`.
            AlreadyExists: NAME_TAKEN.
        """
        size = await self.check(new)
        model = await self._store.create(owner, new.id, new.display_name, new.specification, request)
        return model, size

    async def check_only(self, owner: str, new: NewModel) -> ModelSize | None:
        """Raises what `create` would, and makes nothing."""
        size = await self.check(new)
        try:
            await self._store.get(owner, new.id)
        except NotFound:
            return size
        raise model_taken(new.id)

    async def check(self, new: NewModel) -> ModelSize | None:
        """What a model weighs on its view, None if it names none. Raises as `fit_to_view`."""
        if not new.view:
            await asyncio.to_thread(
                lambda: _below_model(lambda: check_shapes(new.specification, max_parameters=self._max_parameters))
            )
            return None
        view = await self._views.get(new.view)
        return await self.fit_to_view(new.specification, view)

    async def fit_to_view(self, specification: ModelSpecification, view: View) -> ModelSize:
        """What a model of a specification weighs on a view. In a thread: a large graph takes seconds.

        Raises:
            InvalidArgument: With the reason of `check_shapes`, `expected_layout` or `expected_outputs`.
        """
        return await asyncio.to_thread(self._fitted, specification, view)

    def _fitted(self, specification: ModelSpecification, view: View) -> ModelSize:
        layout = _below_model(lambda: expected_layout(list(view.inputs), specification.preprocessing))
        outputs = expected_outputs(list(view.targets))
        return _below_model(lambda: check_shapes(specification, layout, outputs, self._max_parameters))

    def check_config(self, config: ModelConfig) -> None:
        """Raises InvalidArgument, as `check_shapes`, if a network can't be built, or not within this server's limit."""
        check_shapes(config.specification, config.layout, config.outputs, self._max_parameters)

    async def delete(self, owner: str, model_id: str) -> None:
        """Deletes a model with its versions.

        Raises:
            NotFound: The owner has no such model.
            FailedPrecondition: RESOURCE_IN_USE, while training jobs of it have not ended.
        """
        model = await self._store.get(owner, model_id)
        if await self._is_training(owner, model_id):
            raise FailedPrecondition(
                Reason.RESOURCE_IN_USE,
                f"model '{model.name}' is being trained: cancel its jobs first or wait for them",
                resource=model.name,
            )
        versions = await self._store.versions(model, None, model.latest_version)
        await self._store.delete(model)
        await self._artifacts.delete(weights_artifact(model.uid))
        for version in versions:
            await self._artifacts.delete(version.artifact)

    async def set_initial_weights(self, owner: str, model_id: str, file: Path) -> Model:
        """Gives a model the weights, a safetensors file, that training starts from; later ones replace earlier ones.

        Raises:
            InvalidArgument: WEIGHTS_MISMATCH or UPLOAD_INCOMPLETE.
        """
        model = await self._store.get(owner, model_id)
        try:
            with safe_open(file, framework="pt") as tensors:
                names = list(tensors.keys())
                check_weights(model.specification, {name: tensors.get_tensor(name) for name in names})
        except SafetensorError as error:
            raise InvalidArgument(
                Reason.UPLOAD_INCOMPLETE, f"the file is not a whole safetensors file: {error}", field="chunk"
            ) from error
        key = weights_artifact(model.uid)
        await self._artifacts.delete(key)
        async with self._artifacts.staged(key) as staging:
            await asyncio.to_thread(shutil.copyfile, file, staging / WEIGHTS_FILE)
        return await self._store.mark_initial_weights(model)

    async def delete_version(self, owner: str, reference: VersionReference) -> None:
        """Deletes a version. Raises NotFound, FailedPrecondition (RESOURCE_IN_USE) while an alias names it."""
        version = await self._store.version(owner, reference)
        await self._store.delete_version(version)
        await self._artifacts.delete(version.artifact)

    async def files(self, version: ModelVersion) -> Path:
        """The folder of a version's files."""
        return await self._artifacts.fetch(version.artifact)


def _below_model(check: Callable[[], T]) -> T:
    """Runs a check; the paths of its violations start where the request has the specification."""
    try:
        return check()
    except InvalidArgument as error:
        raise error.at("model.") from error
