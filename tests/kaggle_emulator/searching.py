"""How the emulator searches: what a `ListDatasets` request leaves out, and in which order it shows the rest."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.kaggle_emulator.catalogue import Catalogue, EmulatedDataset

ENDINGS = {"CSV": ".csv", "SQLITE": ".sqlite", "JSON": ".json", "BIG_QUERY": ".bigquery", "PARQUET": ".parquet"}
ORDERS: Mapping[str, Callable[[EmulatedDataset], Any]] = {
    "VOTES": lambda dataset: -dataset.votes,
    "UPDATED": lambda dataset: -dataset.last_updated.timestamp(),
    "ACTIVE": lambda dataset: -dataset.downloads,
}


class NotAllowed(Exception):
    """Nobody may ask for the data sets of an account that is not logged in."""


def found(catalogue: Catalogue, body: Mapping[str, Any], account: str | None) -> list[EmulatedDataset]:
    """What a request finds. Raises NotAllowed, ValueError."""
    return _sorted(
        [each for each in _offered(catalogue, body, account) if _fits(each, body)],
        _word(body, "sortBy", "DATASET_SORT_BY_", "HOTTEST"),
    )


def _offered(catalogue: Catalogue, body: Mapping[str, Any], account: str | None) -> list[EmulatedDataset]:
    match _word(body, "group", "DATASET_SELECTION_GROUP_", "PUBLIC"):
        case "PUBLIC":
            return catalogue.public()
        case "USER":
            return catalogue.public(body["user"])
        case "MY" if account is not None:
            return catalogue.of(account)
        case "MY":
            raise NotAllowed
        case other:
            raise ValueError(f"no group {other}")


def _fits(dataset: EmulatedDataset, body: Mapping[str, Any]) -> bool:
    text = f"{dataset.ref} {dataset.title} {dataset.subtitle}".lower()
    file_type = _word(body, "fileType", "DATASET_FILE_TYPE_GROUP_", "ALL")
    tags = {tag.lower() for tag in dataset.tags}
    return (
        all(word in text for word in body.get("search", "").lower().split())
        and (file_type == "ALL" or any(file.path.endswith(ENDINGS[file_type]) for file in dataset.files))
        and _word(body, "license", "DATASET_LICENSE_GROUP_", "ALL") in ("ALL", _license_group(dataset.license))
        and all(tag.lower() in tags for tag in body.get("tagIds", "").split(",") if tag)
        and body.get("minSize", 0) <= dataset.size_bytes <= body.get("maxSize", dataset.size_bytes)
    )


def _sorted(datasets: list[EmulatedDataset], order: str) -> list[EmulatedDataset]:
    if order == "HOTTEST":
        return datasets
    if order == "PUBLISHED":  # the catalogue grows at its end
        return datasets[::-1]
    return sorted(datasets, key=ORDERS[order])


def _license_group(name: str) -> str:
    for part, group in {"CC": "CC", "GPL": "GPL", "GNU": "GPL", "Open Database": "ODB", "ODbL": "ODB"}.items():
        if part in name:
            return group
    return "OTHER"


def _word(body: Mapping[str, Any], field: str, prefix: str, default: str) -> str:
    """An enum's value without its prefix; the default is not sent."""
    value: str = body.get(field, prefix + default)
    if not value.startswith(prefix):
        raise ValueError(f"{field} is not {value}")
    return value.removeprefix(prefix)
