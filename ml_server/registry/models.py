"""What people do with models: make them, name their versions, give them weights, take versions away as files."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from ml_server.features.fit import expected_layout
from ml_server.features.reuse import arranged, known_encodings, known_targets
from ml_server.features.targets import expected_outputs
from ml_server.networks.manageable_model import ModelConfig
from ml_server.networks.shapes import ModelSize, check_shapes
from ml_server.networks.specification import ModelSpecification
from ml_server.networks.weights import check_weights
from ml_server.registry.aliases import Alias
from ml_server.registry.bundle import Preprocessing, read_preprocessing
from ml_server.registry.interchange import misfit_between
from ml_server.registry.store import ModelStore, model_taken
from ml_server.registry.values import Model, ModelVersion, VersionReference, weights_artifact
from ml_server.views.values import View, ViewSource
from servicekit.artifacts import ArtifactStore
from servicekit.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, Reason
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
        needed_by: Callable[[str, str, int | None], Awaitable[str]],
    ) -> None:
        """`needed_by(owner, model_id, version)` names a job that has not ended and needs the version or, if that
        is None, anything of the model; empty if there is none."""
        self._store = store
        self._artifacts = artifacts
        self._views = views
        self._max_parameters = max_parameters
        self._needed_by = needed_by

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
        _, size = await self.fit_to_view(new.specification, view)
        return size

    async def fit_to_view(
        self, specification: ModelSpecification, view: View, base: Preprocessing | None = None
    ) -> tuple[ModelConfig, ModelSize]:
        """A specification's network on a view, and what it weighs. In a thread: a large graph takes seconds.

        Raises:
            InvalidArgument: With the reason of `check_shapes`, or as `expected_config`.
        """
        return await asyncio.to_thread(self._fitted, specification, view, base)

    def _fitted(
        self, specification: ModelSpecification, view: View, base: Preprocessing | None
    ) -> tuple[ModelConfig, ModelSize]:
        config = expected_config(specification, view, base)
        return config, _below_model(lambda: self.check_config(config))

    def check_config(self, config: ModelConfig) -> ModelSize:
        """Raises InvalidArgument, as `check_shapes`, if a network can't be built, or not within this server's limit."""
        return check_shapes(config.specification, config.layout, config.outputs, self._max_parameters)

    async def delete(self, owner: str, model_id: str) -> None:
        """Deletes a model with its versions.

        Raises:
            NotFound: The owner has no such model.
            FailedPrecondition: RESOURCE_IN_USE, while training jobs that need it have not ended.
        """
        model = await self._store.get(owner, model_id)
        await self._refuse_if_needed(owner, model, None, model.name)
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

    async def set_alias(
        self, owner: str, model_id: str, name: str, wanted: Alias, *, keep_shadow: bool = False, etag: str = ""
    ) -> Model:
        """Makes an alias, or gives its name another meaning, if its versions can stand in for each other.

        Raises:
            NotFound: One of its versions is not there.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED or COLUMN_UNSUPPORTED, see `misfit_between`.
            Aborted: ETAG_MISMATCH, if `etag` is set and old.
        """
        while True:
            model = await self._store.get(owner, model_id)
            alias = wanted.keeping_shadow(model.aliases.get(name)) if keep_shadow else wanted
            await self._require_interchangeable(model, alias)
            try:
                return await self._store.set_alias(model, name, alias, etag or model.etag)
            except Aborted:
                if etag:
                    raise

    async def _require_interchangeable(self, model: Model, alias: Alias) -> None:
        first, *others = alias.versions
        if not others:
            return
        expected = await self._preprocessing(model, first)
        for number in others:
            found = misfit_between(expected, await self._preprocessing(model, number))
            if found is None:
                continue
            is_shadow = number == alias.shadow
            text = (
                f"version {number} can't {'shadow' if is_shadow else 'share an alias with'} version {first}: it "
                f"{found.problem}; name a version with the same columns and targets{', or none' if is_shadow else ''}"
            )
            raise InvalidArgument(
                found.reason, text, field="shadow_version" if is_shadow else "shares", column=found.column
            )

    async def _preprocessing(self, model: Model, number: int) -> Preprocessing:
        version = await self._store.version(model.owner, VersionReference(model.id, number))
        return await asyncio.to_thread(read_preprocessing, await self.files(version))

    async def delete_version(self, owner: str, reference: VersionReference) -> None:
        """Deletes a version.

        Raises:
            NotFound: The owner has no such version.
            FailedPrecondition: RESOURCE_IN_USE, while an alias names it, or a training job starts from it that has not
                ended.
        """
        version = await self._store.version(owner, reference)
        await self._refuse_if_needed(owner, version.model, version.number, version.name)
        await self._store.delete_version(version)
        await self._artifacts.delete(version.artifact)

    async def _refuse_if_needed(self, owner: str, model: Model, version: int | None, name: str) -> None:
        if job := await self._needed_by(owner, model.id, version):
            raise FailedPrecondition(
                Reason.RESOURCE_IN_USE,
                f"'{name}' is needed by '{job}', which has not ended: cancel it first or wait for it",
                resource=name,
            )

    async def files(self, version: ModelVersion) -> Path:
        """The folder of a version's files."""
        return await self._artifacts.fetch(version.artifact)


def expected_config(specification: ModelSpecification, view: View, base: Preprocessing | None = None) -> ModelConfig:
    """The network of a specification on a view, with the preprocessing of a base version for what that knows.

    Raises:
        InvalidArgument: With the reason of `expected_layout`, `expected_outputs`, `known_encodings` or `known_targets`.
    """
    inputs, targets, preprocessing = list(view.inputs), list(view.targets), specification.preprocessing
    layout = _below_model(lambda: expected_layout(inputs, preprocessing))
    if base is None:
        return ModelConfig(specification=specification, layout=layout, outputs=expected_outputs(targets))
    inputs = arranged(inputs, base.features.columns)
    layout = expected_layout(inputs, preprocessing, known_encodings(inputs, preprocessing, base.features))
    outputs = expected_outputs(targets, known_targets(targets, base.targets))
    return ModelConfig(specification=specification, layout=layout, outputs=outputs)


def _below_model(check: Callable[[], T]) -> T:
    """Runs a check; the paths of its violations start where the request has the specification."""
    try:
        return check()
    except InvalidArgument as error:
        raise error.at("model.") from error
