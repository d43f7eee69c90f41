"""The port of the store of data sets and their views. Owners see their own; others' answer as missing ones do."""

from typing import Protocol

from scraper_server.datasets.values import Dataset, DatasetView
from servicekit.errors import AlreadyExists, FailedPrecondition, NotFound, Reason
from servicekit.idempotency import RequestKey

SHOWN_VIEWS = 5


class ArtifactGone(Exception):  # a signal between the store and its caller, not an error of the service
    """The artifact of what is to be added is not there, or was referred to just now: stage it again and repeat."""


class DatasetStore(Protocol):
    """Keeps what is known of data sets and views, and their references to artifacts.

    An artifact is deleted with its last reference. Lists are newest first; `before` is the cursor of the row that the
    page comes after, and each row comes with its own cursor.
    """

    async def remembered(self, request: RequestKey | None) -> str | None:
        """The id of what the same request made before. Raises REQUEST_ID_REUSED."""
        ...

    async def add(self, dataset: Dataset, request: RequestKey | None = None) -> None:
        """Keeps a data set whose artifact is stored.

        Raises:
            AlreadyExists: NAME_TAKEN; also if the same request has made another one, which `remembered` then knows.
            ArtifactGone: The artifact is not there.
        """
        ...

    async def get(self, owner: str, dataset_id: str) -> Dataset:
        """An owner's data set with its statistics. Raises NotFound."""
        ...

    async def find(self, owner: str, dataset_id: str) -> Dataset:
        """An owner's data set, its columns without statistics. Raises NotFound."""
        ...

    async def exists(self, owner: str, dataset_id: str) -> bool:
        """True if the owner has such a data set."""
        ...

    async def page(self, owner: str, before: int | None, limit: int) -> list[tuple[int, Dataset]]:
        """An owner's data sets, their columns without statistics."""
        ...

    async def delete(self, owner: str, dataset_id: str, *, force: bool) -> None:
        """Deletes a data set, with `force` its views too.

        Raises:
            NotFound: The owner has no such data set.
            FailedPrecondition: RESOURCE_IN_USE, it has views and `force` is False.
        """
        ...

    async def add_view(self, view: DatasetView, request: RequestKey | None = None) -> None:
        """Keeps a view whose artifact is stored.

        Raises:
            AlreadyExists: NAME_TAKEN; also if the same request has made another one, which `remembered` then knows.
            NotFound: Its data set was deleted.
            ArtifactGone: The artifact is not there.
        """
        ...

    async def get_view(self, owner: str, dataset_id: str, view_id: str) -> DatasetView:
        """A view. Raises NotFound."""
        ...

    async def view_exists(self, owner: str, dataset_id: str, view_id: str) -> bool:
        """True if the owner's data set has such a view."""
        ...

    async def views_page(
        self, owner: str, dataset_id: str | None, before: int | None, limit: int
    ) -> list[tuple[int, DatasetView]]:
        """The views of a data set, or of all of the owner's."""
        ...

    async def used_bytes(self, owner: str) -> int:
        """Bytes that an owner's data sets and views take in storage. Equal ones share their rows and count once."""
        ...

    async def delete_view(self, owner: str, dataset_id: str, view_id: str) -> None:
        """Deletes a view. Raises NotFound."""
        ...


def no_such_dataset(dataset_id: str) -> NotFound:
    """What a caller gets who asks for a data set that is not there, or is somebody else's."""
    name = f"datasets/{dataset_id}"
    return NotFound(Reason.NOT_FOUND, f"no data set '{name}'", resource=name)


def no_such_view(dataset_id: str, view_id: str) -> NotFound:
    """What a caller gets who asks for a view that is not there, or is somebody else's."""
    name = f"datasets/{dataset_id}/views/{view_id}"
    return NotFound(Reason.NOT_FOUND, f"no view '{name}'", resource=name)


def dataset_name_taken(dataset_id: str, by: str = "you have a data set") -> AlreadyExists:
    """What a caller gets who chooses an id that is in use."""
    message = f"{by} 'datasets/{dataset_id}' already: choose another dataset_id, or leave it empty"
    return AlreadyExists(Reason.NAME_TAKEN, message, field="dataset_id", resource=f"datasets/{dataset_id}")


def view_name_taken(dataset_id: str, view_id: str) -> AlreadyExists:
    """What a caller gets who chooses an id that is in use."""
    name = f"datasets/{dataset_id}/views/{view_id}"
    message = f"you have a view '{name}' already: choose another view_id, or leave it empty"
    return AlreadyExists(Reason.NAME_TAKEN, message, field="view_id", resource=name)


def has_views(dataset_id: str, views: list[str]) -> FailedPrecondition:
    """What a caller gets who deletes a data set that has views."""
    shown = ", ".join(f"'{view}'" for view in views[:SHOWN_VIEWS])
    more = f" and {len(views) - SHOWN_VIEWS} more" if len(views) > SHOWN_VIEWS else ""
    message = f"data set 'datasets/{dataset_id}' has views ({shown}{more}): delete them first, or set force"
    return FailedPrecondition(Reason.RESOURCE_IN_USE, message, resource=f"datasets/{dataset_id}")
