"""A version's folder: network, preprocessing and provenance, in four files that need nothing else.

A fifth one, which may lack, tells how the rows of its training were distributed. A sixth one holds the network for the
engine that serves it, if that is not PyTorch. It stays where it was made.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from pydantic import ValidationError

from ml_server.features.features import FittedFeatures
from ml_server.features.targets import FittedTargets
from ml_server.networks.manageable_model import CONFIG_FILE, STATE_FILE, ManageableModel, ModelConfig
from ml_server.networks.values import Value
from ml_server.registry.values import VersionDetails
from servicekit.errors import InvalidArgument, Reason

FEATURES_FILE = "features.json"
VERSION_FILE = "version.json"
REFERENCE_FILE = "reference.json"
ENGINE_FILE = "model.onnx"
FILES = (CONFIG_FILE, STATE_FILE, FEATURES_FILE, VERSION_FILE)
# zipfile has an error of its own for some damages; others, and encryption, come as these.
_UNZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class Preprocessing(Value):
    """The content of `features.json`: how raw columns become the network's input, and its outputs become answers."""

    features: FittedFeatures
    targets: FittedTargets


@dataclass(frozen=True)
class Bundle:
    """A version read back: a network in evaluation mode and what goes around it."""

    model: ManageableModel
    features: FittedFeatures
    targets: FittedTargets
    details: VersionDetails


def write_bundle(directory: Path, bundle: Bundle) -> None:
    """Writes the four files into a new folder. Raises AlreadyExists."""
    bundle.model.save(directory)
    preprocessing = Preprocessing(features=bundle.features, targets=bundle.targets)
    (directory / FEATURES_FILE).write_text(preprocessing.model_dump_json(), encoding="utf-8")
    write_details(directory, bundle.details)


def write_details(directory: Path, details: VersionDetails) -> None:
    """Writes the provenance into a version's folder."""
    (directory / VERSION_FILE).write_text(details.model_dump_json(), encoding="utf-8")


def read_config(directory: Path) -> ModelConfig:
    """The shape of the network in a version's folder. Raises InvalidArgument (INVALID_FIELD)."""
    try:
        return ModelConfig.model_validate_json((directory / CONFIG_FILE).read_bytes())
    except ValidationError as error:
        message = f"{CONFIG_FILE} is not the configuration of a model: {error}"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="bundle") from error


def read_bundle(directory: Path) -> Bundle:
    """Reads a version's folder, on the CPU.

    Raises:
        InvalidArgument: WEIGHTS_MISMATCH or INVALID_FIELD, if the files are not what `write_bundle` writes.
    """
    model = read_network(directory)
    try:
        preprocessing = Preprocessing.model_validate_json((directory / FEATURES_FILE).read_bytes())
        details = read_details(directory)
    except (ValidationError, OSError) as error:
        message = f"{FEATURES_FILE} and {VERSION_FILE} are not those of a version: {error}"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="bundle") from error
    expected = (preprocessing.features.layout, preprocessing.targets.outputs)
    if (model.config.layout, model.config.outputs) != expected:
        raise InvalidArgument(
            Reason.WEIGHTS_MISMATCH,
            f"{FEATURES_FILE} gives {expected[0].features} features and {expected[1]} outputs, but the network has "
            f"{model.config.layout.features} and {model.config.outputs}",
            field="bundle",
        )
    return Bundle(model, preprocessing.features, preprocessing.targets, details)


def read_network(directory: Path) -> ManageableModel:
    """The network of a version's folder, in evaluation mode. Raises InvalidArgument as `read_bundle`."""
    return ManageableModel.load(directory).eval().requires_grad_(False)


def read_preprocessing(directory: Path) -> Preprocessing:
    """The preprocessing of a version's folder, without its network."""
    return Preprocessing.model_validate_json((directory / FEATURES_FILE).read_bytes())


def read_details(directory: Path) -> VersionDetails:
    """The provenance of a version's folder, without its network."""
    return VersionDetails.model_validate_json((directory / VERSION_FILE).read_bytes())


def weights_digest(model: ManageableModel) -> str:
    """sha256 over names, types, shapes and bytes of all weights, hexadecimal: equal for equal weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def zip_bundle(directory: Path, target: Path) -> None:
    """Writes a version's folder as one zip file."""
    names = [*FILES, REFERENCE_FILE] if (directory / REFERENCE_FILE).exists() else FILES
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            archive.write(directory / name, name)


def unzip_bundle(file: Path, directory: Path, max_bytes: int) -> None:
    """Writes the files of a zipped bundle into a folder; anything else in it is refused.

    Raises:
        InvalidArgument: UPLOAD_INCOMPLETE, if the file is no bundle; LIMIT_EXCEEDED, if it unpacks to more than
            `max_bytes`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if sorted(names) not in (sorted(FILES), sorted((*FILES, REFERENCE_FILE))):
                raise _no_bundle(f"it holds {', '.join(archive.namelist()[:10]) or 'nothing'}")
            left = max_bytes
            for name in names:
                with archive.open(name) as source, (directory / name).open("wb") as sink:
                    left -= _copy(source, sink, left)
    except _UNZIP_ERRORS as error:
        raise _no_bundle(str(error)) from error


def _copy(source: IO[bytes], sink: IO[bytes], limit: int) -> int:
    copied = 0
    while block := source.read(1 << 20):
        copied += len(block)
        if copied > limit:
            raise InvalidArgument(Reason.LIMIT_EXCEEDED, "the bundle unpacks to more than the limit", field="bundle")
        sink.write(block)
    return copied


def _no_bundle(problem: str) -> InvalidArgument:
    return InvalidArgument(
        Reason.UPLOAD_INCOMPLETE,
        f"the file is not a bundle with {', '.join(FILES)}: {problem}; take one that ExportModelVersion gave",
        field="bundle",
    )
