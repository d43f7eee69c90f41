"""Versions that leave as one file, and those that come back."""

import asyncio
import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from safetensors.torch import save_file

from ml_server.engines.choice import choose_engine, made_rows
from ml_server.engines.onnx_export import export_onnx
from ml_server.registry.bundle import (
    ENGINE_FILE,
    Bundle,
    read_bundle,
    read_config,
    unzip_bundle,
    weights_digest,
    write_details,
    zip_bundle,
)
from ml_server.registry.models import Models
from ml_server.registry.store import ModelStore
from ml_server.registry.values import Model, ModelVersion, VersionDetails, version_artifact
from servicekit.artifacts import ArtifactStore
from servicekit.errors import InvalidArgument, NotFound, Reason
from servicekit.files import folder_bytes
from servicekit.uploads import Announcement, Bytes, receive_file, refuse_larger

LIMIT_SETTING = "FLARE_ML_MAX_UPLOAD_BYTES"
CHUNK_BYTES = 1 << 20


class ExportFormat(StrEnum):
    """The form in which a version leaves; its value ends the file's name."""

    BUNDLE = "zip"
    SAFETENSORS = "safetensors"
    ONNX = "onnx"


@dataclass(frozen=True)
class ExportedFile:
    """A file to be sent, and what to say of it first."""

    path: Path
    name: str
    size_bytes: int
    sha256: str

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes, at most 1 MiB at a time."""
        with self.path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk


class Transfer:
    """Exports and imports versions, and receives weights, by way of a scratch folder."""

    def __init__(
        self, store: ModelStore, models: Models, artifacts: ArtifactStore, directory: Path, max_bytes: int
    ) -> None:
        """`directory` holds files while they come and go; nobody else uses it."""
        self._store = store
        self._models = models
        self._artifacts = artifacts
        self._directory = directory
        self._max_bytes = max_bytes

    async def start(self) -> None:
        """Removes what the end of the server left."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    async def drain(self) -> None:
        """Nothing to do: a transfer is a call, and ends with it."""

    @asynccontextmanager
    async def exported(self, version: ModelVersion, form: ExportFormat) -> AsyncIterator[ExportedFile]:
        """A version as a file, which is there while the block runs."""
        source = await self._models.files(version)
        with self._scratch() as directory:
            path = directory / f"export.{form}"
            await asyncio.to_thread(_export, source, form, path)
            digest = await asyncio.to_thread(_sha256, path)
            name = f"{version.model.id}-{version.number}.{form}"
            yield ExportedFile(path, name, path.stat().st_size, digest)

    async def receive_weights(
        self, owner: str, model_id: str, announced: Announcement, chunks: AsyncIterator[Bytes]
    ) -> Model:
        """Takes a safetensors file as the weights that training starts from.

        Raises:
            NotFound: Before anything is taken.
            InvalidArgument: UPLOAD_INCOMPLETE, WEIGHTS_MISMATCH.
        """
        await self._store.get(owner, model_id)
        with self._scratch() as directory:
            path = directory / "weights.safetensors"
            await self._receive(path, announced, chunks)
            return await self._models.set_initial_weights(owner, model_id, path)

    async def receive_version(
        self, owner: str, model_id: str, announced: Announcement, chunks: AsyncIterator[Bytes]
    ) -> ModelVersion:
        """Takes a bundle as a model's next version; makes the model if it is not there.

        Raises:
            InvalidArgument: UPLOAD_INCOMPLETE, WEIGHTS_MISMATCH, INVALID_FIELD, or a reason of `check_config`.
        """
        with self._scratch() as directory:
            zipped, unzipped = directory / "bundle.zip", directory / "bundle"
            await self._receive(zipped, announced, chunks)
            unzipped.mkdir()
            await asyncio.to_thread(unzip_bundle, zipped, unzipped, self._max_bytes)
            # Before reading it: a small file can ask for a lot of memory.
            await asyncio.to_thread(self._models.check_config, read_config(unzipped))
            bundle = await asyncio.to_thread(read_bundle, unzipped)
            if weights_digest(bundle.model) != bundle.details.digest:
                raise InvalidArgument(
                    Reason.WEIGHTS_MISMATCH, "the weights are not those that version.json names", field="bundle"
                )
            details = await asyncio.to_thread(_served_here, bundle, unzipped)
            return await self._keep(await self._model_for(owner, model_id, bundle), details, unzipped)

    async def _receive(self, path: Path, announced: Announcement, chunks: AsyncIterator[Bytes]) -> None:
        refuse_larger(announced, self._max_bytes, Reason.LIMIT_EXCEEDED, LIMIT_SETTING)
        await receive_file(path, announced, chunks)

    async def _model_for(self, owner: str, model_id: str, bundle: Bundle) -> Model:
        specification = bundle.model.config.specification
        try:
            model = await self._store.get(owner, model_id)
        except NotFound:
            return await self._store.create(owner, model_id, "", specification, None)
        if model.specification != specification:
            raise InvalidArgument(
                Reason.WEIGHTS_MISMATCH,
                f"the bundle's network is not that of '{model.name}': import it under another model_id",
                field="header.model_id",
            )
        return model

    async def _keep(self, model: Model, details: VersionDetails, directory: Path) -> ModelVersion:
        artifact = version_artifact(model.uid, uuid.uuid4().hex)
        async with self._artifacts.staged(artifact) as staging:
            await asyncio.to_thread(shutil.copytree, directory, staging, dirs_exist_ok=True)
        size = await asyncio.to_thread(folder_bytes, directory)
        return await self._store.add_version(model, details, size, artifact)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        directory = self._directory / uuid.uuid4().hex
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _served_here(bundle: Bundle, directory: Path) -> VersionDetails:
    """Chooses an engine anew, and forgets the job and the base version: those of the system that the bundle is of."""
    engine = choose_engine(bundle.model, made_rows(bundle.model), directory / ENGINE_FILE)
    details = bundle.details.model_copy(update={"training_job": "", "base_version": "", "engine": engine})
    write_details(directory, details)
    return details


def _export(source: Path, form: ExportFormat, target: Path) -> None:
    match form:
        case ExportFormat.BUNDLE:
            zip_bundle(source, target)
        case ExportFormat.SAFETENSORS:
            weights = read_bundle(source).model.weights()
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, target)
        case ExportFormat.ONNX:
            export_onnx(read_bundle(source).model, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
