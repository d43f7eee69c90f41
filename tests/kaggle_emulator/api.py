"""The methods of `datasets.DatasetApiService` that Flare and the `kaggle` package use."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from tests.kaggle_emulator import searching
from tests.kaggle_emulator.catalogue import Catalogue, EmulatedDataset, EmulatedFile
from tests.kaggle_emulator.faults import RequestKind
from tests.kaggle_emulator.storage import Storage

DEFAULT_PAGE_SIZE = 20


class ApiError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Redirect:
    """The answer to a download: where in storage the bytes are."""

    path_and_query: str


class DatasetApi:
    """Answers from a catalogue."""

    def __init__(self, catalogue: Catalogue, storage: Storage) -> None:
        self.catalogue = catalogue
        self._storage = storage

    def answer(self, kind: RequestKind, body: dict[str, Any], account: str | None) -> dict[str, Any] | Redirect:
        """The answer to a request of an account (None: anonymous). Raises ApiError."""
        match kind:
            case RequestKind.LIST_DATASETS:
                return self._list_datasets(body, account)
            case RequestKind.LIST_FILES:
                return self._list_files(body, account)
            case RequestKind.GET_DATASET:
                return self._dataset(body, account).described()
            case RequestKind.GET_METADATA:
                return {"info": _info(self._dataset(body, account))}
            case RequestKind.GET_STATUS:
                self._dataset(body, account)
                return {"status": "READY"}
            case RequestKind.INTROSPECT:
                return {"active": account is not None, "username": account or ""}
            case RequestKind.DOWNLOAD:
                return self._download(body, account)
            case _:
                raise ApiError(404, "Not found")

    def _list_datasets(self, body: dict[str, Any], account: str | None) -> dict[str, Any]:
        try:
            found = searching.found(self.catalogue, body, account)
        except searching.NotAllowed as error:
            raise ApiError(401, "Unauthenticated") from error
        except (ValueError, KeyError) as error:
            raise ApiError(400, f"Invalid request: {error}") from error
        size = body.get("pageSize", DEFAULT_PAGE_SIZE)
        start = _offset(body.get("pageToken")) or (body.get("page", 1) - 1) * size
        page = [dataset.described() for dataset in found[start : start + size]]
        return {"datasets": page, "nextPageToken": _token(start + size, len(found))}

    def _list_files(self, body: dict[str, Any], account: str | None) -> dict[str, Any]:
        dataset = self._dataset(body, account)
        files = self._files(dataset, body)
        size = body.get("pageSize", DEFAULT_PAGE_SIZE)
        start = _offset(body.get("pageToken"))
        page = [file.described(dataset.ref) for file in files[start : start + size]]
        return {"datasetFiles": page, "errorMessage": "", "nextPageToken": _token(start + size, len(files))}

    def _download(self, body: dict[str, Any], account: str | None) -> Redirect:
        dataset = self._dataset(body, account)
        files = self._files(dataset, body)
        number = body.get("datasetVersionNumber") or len(dataset.versions)
        folder = f"kaggle-data-sets/{dataset.ref}/{number}"
        if not body.get("fileName"):
            bundle = dataset.archive_of(number)
            return Redirect(self._storage.put(f"{folder}/bundle/archive.zip", bundle, "application/zip"))
        for file in files:
            if file.path == body["fileName"]:
                # Whatever the path is, the address is one: only its last segment is the name.
                path = f"{folder}/{sha256(file.path.encode()).hexdigest()[:16]}"
                shown = quote(file.stored_name(), safe="") if file.stored_as is None else file.stored_as
                content_type = "application/zip" if file.zipped else file.content_type
                return Redirect(self._storage.put(path, file.stored_content, content_type, shown))
        raise ApiError(404, "Not found")

    def _dataset(self, body: dict[str, Any], account: str | None) -> EmulatedDataset:
        found = self.catalogue.find(f"{body.get('ownerSlug', '')}/{body.get('datasetSlug', '')}", account)
        if found is None:
            raise ApiError(403, "Permission 'datasets.get' was denied")
        return found

    def _files(self, dataset: EmulatedDataset, body: dict[str, Any]) -> list[EmulatedFile]:
        files = dataset.version(body.get("datasetVersionNumber"))
        if files is None:
            raise ApiError(404, "Not found")
        return sorted(files, key=lambda file: file.path)


def _info(dataset: EmulatedDataset) -> dict[str, Any]:
    owner, slug = dataset.ref.split("/")
    return {
        "datasetSlug": slug,
        "ownerUser": owner,
        "title": dataset.title,
        "subtitle": dataset.subtitle,
        "licenses": [{"name": dataset.license}],
        "keywords": list(dataset.tags),
        "isPrivate": dataset.private_to is not None,
    }


def _token(offset: int, total: int) -> str:
    return urlsafe_b64encode(str(offset).encode()).decode() if offset < total else ""


def _offset(token: str | None) -> int:
    if not token:
        return 0
    try:
        return int(urlsafe_b64decode(token))
    except ValueError as error:
        raise ApiError(400, "Invalid page token") from error
