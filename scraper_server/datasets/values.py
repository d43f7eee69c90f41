"""A data set and a view of one, as this service keeps them."""

from dataclasses import dataclass
from datetime import datetime

from scraper_server.sources.source import SourceKind
from scraper_server.tables.conversion import ConvertedTable
from scraper_server.tables.schema import Column
from scraper_server.views.spec import ResolvedView, ViewSpec


@dataclass(frozen=True)
class SourceOrigin:
    """A file of a source."""

    source: SourceKind
    ref: str
    version: int = 0
    path: str = ""
    members: tuple[str, ...] = ()
    """Patterns of what is taken of the archive of the whole data set; `path` is empty then."""


@dataclass(frozen=True)
class UploadOrigin:
    """A file that its owner sent."""

    file_name: str
    size_bytes: int
    sha256: str


Origin = SourceOrigin | UploadOrigin


@dataclass(frozen=True)
class Dataset:
    """A table that never changes. `id` is unique among those of its owner."""

    owner: str
    id: str
    display_name: str
    origin: Origin
    table: ConvertedTable
    create_time: datetime
    import_job: str = ""
    """The job that made it; empty for an upload."""

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"datasets/{self.id}"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its table."""
        return self.table.columns


@dataclass(frozen=True)
class DatasetView:
    """A data set made ready for learning. `id` is unique among the views of its data set."""

    owner: str
    dataset_id: str
    id: str
    display_name: str
    spec: ViewSpec
    resolved: ResolvedView
    dataset_digest: str
    origin: Origin
    """Of its data set."""
    create_time: datetime
    size_bytes: int = 0
    """What its rows take in storage; 0 if it was not kept."""

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"datasets/{self.dataset_id}/views/{self.id}"


def table_key(digest: str) -> str:
    """The artifact of a table. Equal tables share it."""
    return f"tables/{digest}"


def view_key(digest: str) -> str:
    """The artifact of a view's rows. Equal views share it."""
    return f"views/{digest}"
