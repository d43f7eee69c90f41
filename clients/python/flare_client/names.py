"""Resource names: what a person writes, and what the contract wants."""

from __future__ import annotations

from typing import Protocol

import grpc

from flare_client.errors import FlareError, Violation


class Named(Protocol):
    """A resource."""

    @property
    def name(self) -> str:
        """Its resource name."""


Reference = str | Named


def dataset_name(dataset: Reference) -> str:
    """`iris` and `datasets/iris` both mean `datasets/iris`."""
    return _in_collection("datasets", dataset)


def model_name(model: Reference) -> str:
    """`iris`, `iris@prod` and `models/iris/versions/1` mean themselves below `models/`."""
    return _in_collection("models", model)


def import_job_name(job: Reference) -> str:
    """An id or a name."""
    return _in_collection("importJobs", job)


def training_job_name(job: Reference) -> str:
    """An id or a name."""
    return _in_collection("trainingJobs", job)


def sweep_name(sweep: Reference) -> str:
    """An id or a name."""
    return _in_collection("sweeps", sweep)


def batch_prediction_name(job: Reference) -> str:
    """An id or a name."""
    return _in_collection("batchPredictions", job)


def view_name(view: Reference) -> str:
    """`iris/main` and `datasets/iris/views/main` both mean the latter.

    Raises:
        FlareError: It is neither.
    """
    text = _text(view)
    parts = text.split("/")
    if len(parts) == 2 and all(parts):
        return f"datasets/{parts[0]}/views/{parts[1]}"
    if len(parts) == 4 and parts[0] == "datasets" and parts[2] == "views":
        return text
    message = f"{text!r} is not the name of a view: write DATASET/VIEW or datasets/DATASET/views/VIEW"
    raise FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation("view", message),))


def short(name: str) -> str:
    """The name without its collections, as people write it: `iris`, `iris/main`, `iris/3`."""
    return "/".join(name.split("/")[1::2])


def _in_collection(collection: str, resource: Reference) -> str:
    text = _text(resource)
    return text if text.startswith(f"{collection}/") else f"{collection}/{text}"


def _text(resource: Reference) -> str:
    return resource if isinstance(resource, str) else resource.name
