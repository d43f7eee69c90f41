"""What the emulator offers: data sets, their versions and files, as the answers of the API describe them."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

CREATED = datetime(2024, 3, 1, 8, 30, 15, 250_000, tzinfo=UTC)


@dataclass(frozen=True)
class EmulatedFile:
    """A file of a data set. `zipped`: storage holds it only as `NAME.zip`, as Kaggle does with larger tables."""

    path: str
    content: bytes
    zipped: bool = False
    content_type: str = "text/csv"
    listed_bytes: int | None = None
    """The size that lists say, if that is not the truth."""
    stored_as: str | None = None
    """The last segment of its address in storage, percent-encoded, if that is not its name."""

    def stored_name(self) -> str:
        """The last segment of its address in storage."""
        name = self.path.rsplit("/", 1)[-1]
        return f"{name}.zip" if self.zipped else name

    @cached_property
    def stored_content(self) -> bytes:
        """Its bytes on the wire."""
        return zip_of([self]) if self.zipped else self.content

    def described(self, dataset_ref: str) -> dict[str, Any]:
        """The API's `ApiDatasetFile`."""
        return {
            "ref": f"{dataset_ref}/{self.path}",
            "datasetRef": dataset_ref,
            "name": self.path,
            "creationDate": timestamp(CREATED),
            "fileType": f".{self.path.rsplit('.', 1)[-1]}",
            "totalBytes": len(self.content) if self.listed_bytes is None else self.listed_bytes,
        }


@dataclass
class EmulatedDataset:
    """A data set with its versions, oldest first. With `private_to` only that account sees it."""

    ref: str
    title: str
    files: Sequence[EmulatedFile]
    subtitle: str = ""
    license: str = "CC0: Public Domain"
    tags: Sequence[str] = ()
    votes: int = 0
    downloads: int = 0
    private_to: str | None = None
    is_said_private: bool = True
    """Whether a private one is called so; some are only not shown to all."""
    archive: bytes | None = None
    """What comes for the archive of all files, if that is not one."""
    versions: list[Sequence[EmulatedFile]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.versions = [*self.versions, self.files]
        self._archives: dict[int, bytes] = {}

    @property
    def owner(self) -> str:
        """The account that it belongs to."""
        return self.ref.split("/")[0]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(len(file.content) for file in self.files)

    @property
    def last_updated(self) -> datetime:
        """When its latest version was published."""
        return CREATED + timedelta(days=len(self.versions))

    def publish(self, files: Sequence[EmulatedFile]) -> None:
        """Makes these files its new version."""
        self.versions.append(files)
        self.files = files

    def version(self, number: int | None) -> Sequence[EmulatedFile] | None:
        """The files of a version, of the current one if `number` is None; None if there is no such version."""
        if number is None:
            return self.versions[-1]
        return self.versions[number - 1] if 1 <= number <= len(self.versions) else None

    def archive_of(self, number: int) -> bytes:
        """The archive of all files of a version, as Kaggle makes it."""
        if self.archive is not None:
            return self.archive
        if number not in self._archives:
            self._archives[number] = zip_of(sorted(self.versions[number - 1], key=lambda file: file.path))
        return self._archives[number]

    def described(self) -> dict[str, Any]:
        """The API's `ApiDataset`."""
        owner = self.owner
        return {
            "id": 4_000 + len(self.ref),
            "ref": self.ref,
            "title": self.title,
            "subtitle": self.subtitle,
            "creatorName": owner.title(),
            "ownerName": owner.title(),
            "ownerRef": owner,
            "totalBytes": self.size_bytes,
            "url": f"https://www.kaggle.com/datasets/{self.ref}",
            "lastUpdated": timestamp(self.last_updated),
            "downloadCount": self.downloads,
            "isPrivate": self.private_to is not None and self.is_said_private,
            "licenseName": self.license,
            "voteCount": self.votes,
            "viewCount": 10 * self.downloads,
            "currentVersionNumber": len(self.versions),
            "usabilityRating": 0.875,
            "tags": [{"ref": tag, "name": tag, "fullPath": f"subject > {tag}"} for tag in self.tags],
        }


@dataclass
class Catalogue:
    """All data sets, in the order in which a search shows them."""

    datasets: list[EmulatedDataset]

    def find(self, ref: str, account: str | None) -> EmulatedDataset | None:
        """The data set of this name, if this account may see it."""
        for dataset in self.datasets:
            if dataset.ref == ref and dataset.private_to in (None, account):
                return dataset
        return None

    def public(self, owner: str = "") -> list[EmulatedDataset]:
        """What everybody sees, of one account or of all."""
        return [each for each in self.datasets if each.private_to is None and owner in ("", each.owner)]

    def of(self, account: str) -> list[EmulatedDataset]:
        """An account's own data sets, private ones too."""
        return [each for each in self.datasets if each.owner == account]


def zip_of(files: Sequence[EmulatedFile]) -> bytes:
    """The files in an archive, each under its path; a single one under its name. Equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            name = file.path if len(files) > 1 else file.path.rsplit("/", 1)[-1]
            archive.writestr(zipfile.ZipInfo(name, (2024, 3, 1, 8, 30, 14)), file.content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def timestamp(time: datetime) -> str:
    """The API's way to write a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond * 10:07d}Z"
