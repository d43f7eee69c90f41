"""Resource names: what a person writes, and what the contract wants."""

from __future__ import annotations

import re
from typing import Protocol

import grpc

from flare_client.errors import FlareError, Violation


class Named(Protocol):
    """A resource."""

    @property
    def name(self) -> str:
        """Its resource name."""


Reference = str | Named

_ID = "[a-z0-9][a-z0-9-]{0,62}"
_ALIAS = "[a-z][a-z0-9-]{0,62}"
_NUMBER = "[1-9][0-9]{0,17}"
_BY_NUMBER = re.compile(f"(?:models/)?({_ID})[@/]({_NUMBER})")
_ALIAS_RULE = "up to 63 small letters, digits and hyphens, a letter first"


def dataset_name(dataset: Reference) -> str:
    """`iris` and `datasets/iris` both mean `datasets/iris`."""
    return _in_collection("datasets", dataset)


def model_name(model: Reference) -> str:
    """`iris` and `models/iris` both mean `models/iris`. Raises FlareError for the name of anything else."""
    return _model("model", model, "", "the name of a model: write its id alone, such as iris")


def version_name(version: Reference) -> str:
    """`iris/versions/3`, `iris@prod`, or `iris` for the latest, below `models/`. Raises FlareError for all else."""
    remedy = f"write iris for the newest, iris@prod for that of an alias ({_ALIAS_RULE}), or iris/versions/3"
    if found := _BY_NUMBER.fullmatch(_text(version)):
        remedy = f"an alias begins with a letter, and version {found[2]} is written {found[1]}/versions/{found[2]}"
    return _model("version", version, f"(/versions/{_NUMBER}|@{_ALIAS})?", f"the name of a version: {remedy}")


def numbered_version_name(version: Reference) -> str:
    """`iris/versions/3`, below `models/`. Raises FlareError for anything else, an alias too."""
    return _model("version", version, f"/versions/{_NUMBER}", "a version by its number: write it as iris/versions/3")


def alias_name(alias: Reference) -> str:
    """`iris@prod`, below `models/`. Raises FlareError for anything else."""
    return _model("alias", alias, f"@{_ALIAS}", "an alias of a model: write MODEL@ALIAS, such as iris@prod")


def alias_id(alias: str) -> str:
    """What stands behind the `@`. Raises FlareError if nothing can be called so."""
    if re.fullmatch(_ALIAS, alias):
        return alias
    raise _wrong("alias", f"{alias!r} can't be an alias: take {_ALIAS_RULE}, such as prod")


def new_model_id(model_id: str) -> str:
    """The id that a model is to have. Raises FlareError if none can have it."""
    if re.fullmatch(_ID, model_id):
        return model_id
    rule = "up to 63 small letters, digits and hyphens, a letter or digit first, such as iris"
    raise _wrong("model_id", f"{model_id!r} can't be the id of a model: take {rule}")


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
    raise _wrong("view", f"{text!r} is not the name of a view: write DATASET/VIEW or datasets/DATASET/views/VIEW")


def short(name: str) -> str:
    """The name without its collections, as people write it: `iris`, `iris/main`, `iris/3`."""
    return "/".join(name.split("/")[1::2])


def _in_collection(collection: str, resource: Reference) -> str:
    text = _text(resource)
    return text if text.startswith(f"{collection}/") else f"{collection}/{text}"


def _model(field: str, resource: Reference, rest: str, wanted: str) -> str:
    name = _in_collection("models", resource)
    if not re.fullmatch(f"models/{_ID}{rest}", name):
        raise _wrong(field, f"{_text(resource)!r} is not {wanted}")
    return name


def _wrong(field: str, message: str) -> FlareError:
    return FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation(field, message),))


def _text(resource: Reference) -> str:
    return resource if isinstance(resource, str) else resource.name
