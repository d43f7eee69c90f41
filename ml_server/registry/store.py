"""The port of model stores, and what they raise."""

from datetime import datetime
from typing import Protocol

from ml_server.networks.specification import ModelSpecification
from ml_server.registry.aliases import Alias
from ml_server.registry.values import Model, ModelVersion, VersionDetails, VersionReference
from servicekit.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, Reason
from servicekit.idempotency import RequestKey

ModelCursor = tuple[datetime, str]


class ModelStore(Protocol):
    """Models with their versions and aliases. An owner sees only their own."""

    @property
    def write_count(self) -> int:
        """Grows with every write through this object, before its caller goes on: what was read before may be old."""
        ...

    async def create(
        self,
        owner: str,
        model_id: str,
        display_name: str,
        specification: ModelSpecification,
        request: RequestKey | None,
    ) -> Model:
        """Makes a model; a repeated request returns the one it made before.

        Raises:
            AlreadyExists: NAME_TAKEN.
            InvalidArgument: REQUEST_ID_REUSED.
        """
        ...

    async def get(self, owner: str, model_id: str) -> Model:
        """An owner's model. Raises NotFound."""
        ...

    async def page(self, owner: str, before: ModelCursor | None, limit: int) -> list[Model]:
        """An owner's models, newest first, from those before the cursor (create_time, uid)."""
        ...

    async def delete(self, model: Model) -> None:
        """Deletes a model with its versions and aliases."""
        ...

    async def mark_initial_weights(self, model: Model) -> Model:
        """Notes that the model has initial weights."""
        ...

    async def set_alias(self, model: Model, name: str, alias: Alias, etag: str) -> Model:
        """Makes an alias, or gives its name another meaning.

        Raises:
            NotFound: One of its versions is not there.
            Aborted: ETAG_MISMATCH, if `etag` is set and old.
        """
        ...

    async def delete_alias(self, model: Model, name: str) -> Model:
        """Deletes an alias. Raises NotFound."""
        ...

    async def add_version(self, model: Model, details: VersionDetails, size_bytes: int, artifact: str) -> ModelVersion:
        """Adds the model's next version, whose files are whole under the key `artifact`; it is the latest from then on.

        Its number is never given again. If its training job made a version already, that one is returned.
        Raises NotFound (the model).
        """
        ...

    async def version_of_job(self, model: Model, training_job: str) -> ModelVersion | None:
        """The version that a job made, if it did."""
        ...

    async def version(self, owner: str, reference: VersionReference) -> ModelVersion:
        """A version by number, by alias (the first of those that share it) or as the latest.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
        """
        ...

    async def versions(self, model: Model, before: int | None, limit: int) -> list[ModelVersion]:
        """A model's versions, newest first, from those before a number."""
        ...

    async def delete_version(self, version: ModelVersion) -> None:
        """Deletes a version. Raises FailedPrecondition (RESOURCE_IN_USE) while an alias needs it, as a shadow too."""
        ...


def no_such_model(model_id: str) -> NotFound:
    """What a caller gets who asks for a model that is not theirs or not there."""
    return NotFound(Reason.NOT_FOUND, f"no model 'models/{model_id}'", resource=f"models/{model_id}")


def no_such_version(name: str) -> NotFound:
    """What a caller gets who asks for a version or alias that is not there."""
    return NotFound(Reason.NOT_FOUND, f"no version '{name}'", resource=name)


def no_version_yet(model: Model) -> FailedPrecondition:
    """What a caller gets who wants to use a model before it is trained."""
    return FailedPrecondition(
        Reason.NO_VERSION, f"model '{model.name}' has no version yet: train it first", resource=model.name
    )


def model_taken(model_id: str) -> AlreadyExists:
    """What a caller gets who makes a model under a name that they use already."""
    return AlreadyExists(
        Reason.NAME_TAKEN,
        f"you have a model 'models/{model_id}' already: take another model_id or delete that one",
        field="model_id",
        resource=f"models/{model_id}",
    )


def model_changed(model: Model) -> Aborted:
    """What a caller gets whose etag is old."""
    return Aborted(
        Reason.ETAG_MISMATCH, f"model '{model.name}' changed since you read it: read it again", resource=model.name
    )


def version_aliased(version: ModelVersion, aliases: list[str]) -> FailedPrecondition:
    """What a caller gets who deletes a version that has a name."""
    named = ", ".join(f"'{alias}'" for alias in aliases)
    return FailedPrecondition(
        Reason.RESOURCE_IN_USE,
        f"version '{version.name}' is named by alias {named}: move or delete the alias first",
        resource=version.name,
    )
