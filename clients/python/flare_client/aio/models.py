"""`flare.models`: networks, their versions and aliases."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from flare.ml.v1 import model_pb2, model_service_pb2_grpc, specification_pb2
from flare.ml.v1 import model_service_pb2 as pb

from flare_client.aio.runtime import closing
from flare_client.aio.service import Service
from flare_client.choices import choose
from flare_client.downloads import Download
from flare_client.names import (
    Reference,
    alias_id,
    model_name,
    new_model_id,
    numbered_version_name,
    version_name,
    view_name,
)
from flare_client.tables.files import Content, bytes_content, file_content

if TYPE_CHECKING:
    import torch

PAGE_SIZE = 200
CREATE_SECONDS = 120.0  # shapes are computed and the view is asked for


class Models:
    """The models of the caller."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = model_service_pb2_grpc.ModelServiceStub(service.channel)

    async def create(
        self,
        model_id: str,
        specification: specification_pb2.ModelSpecification,
        *,
        view: Reference | None = None,
        display_name: str = "",
        validate_only: bool = False,
    ) -> model_pb2.Model:
        """Makes a model of a specification, as `flare_client.mlp` and `flare_client.cnn` write it.

        With a view its shapes are checked against the view's columns, and the answer says how large it is.

        Raises:
            FlareError: Shapes do not fit, or the id is taken; violations name the field of the specification.
        """
        request = pb.CreateModelRequest(
            model_id=new_model_id(model_id),
            model=model_pb2.Model(display_name=display_name, specification=specification),
            view=view_name(view) if view is not None else "",
            validate_only=validate_only,
            request_id=str(uuid4()),
        )
        return await self._service.call(self._stub.CreateModel, request, safe=True, seconds=CREATE_SECONDS)

    async def create_from_module(
        self,
        model_id: str,
        module: torch.nn.Module,
        input_shape: Sequence[int],
        *,
        view: Reference | None = None,
        preprocessing: specification_pb2.Preprocessing | None = None,
        display_name: str = "",
    ) -> model_pb2.Model:
        """Captures a module as a graph of operations, makes a model of it, and uploads its weights to train from.

        `input_shape` is the shape of one row's input, without the batch dimension. No code leaves this machine.

        Raises:
            FlareError: The service refused.
            flare_client.capture.CaptureError: The module does something that a graph can't express; it names it.
        """
        from safetensors.torch import save

        from flare_client.capture import capture

        captured = capture(module, tuple(input_shape))
        specification = specification_pb2.ModelSpecification(torch_graph=captured.graph, preprocessing=preprocessing)
        model = await self.create(model_id, specification, view=view, display_name=display_name)
        weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in captured.weights.items()}
        if not weights:
            return model
        return await self._upload_weights(model.name, bytes_content("weights.safetensors", save(weights)))

    async def upload_weights(self, model: Reference, path: str | Path) -> model_pb2.Model:
        """Gives a model the weights of a safetensors file to train from."""
        return await self._upload_weights(model_name(model), file_content(Path(path)))

    async def get(self, model: Reference) -> model_pb2.Model:
        """A model."""
        request = pb.GetModelRequest(name=model_name(model))
        return await self._service.call(self._stub.GetModel, request, safe=True)

    async def list(self) -> builtins.list[model_pb2.Model]:
        """All models, newest first."""
        models: builtins.list[model_pb2.Model] = []
        page_token = ""
        while True:
            request = pb.ListModelsRequest(page_size=PAGE_SIZE, page_token=page_token)
            page = await self._service.call(self._stub.ListModels, request, safe=True)
            models += page.models
            page_token = page.next_page_token
            if not page_token:
                return models

    async def delete(self, model: Reference) -> None:
        """Deletes a model with its versions."""
        request = pb.DeleteModelRequest(name=model_name(model))
        await self._service.call(self._stub.DeleteModel, request, safe=False)

    async def set_alias(
        self,
        model: Reference,
        alias: str,
        version: int | None = None,
        *,
        shares: Mapping[int, int] | None = None,
        shadow: int | None = None,
        etag: str = "",
    ) -> model_pb2.Model:
        """Makes an alias or moves it, at once for everybody; with an etag only if nobody changed the model since.

        `shares`, as `{3: 90, 4: 10}`, gives versions parts of the predictions by weight; `version` is the first of
        them unless given. A `shadow` is a version that is asked too, while its answers are only compared: unless given,
        the alias keeps the one that it has, if that does not answer itself from now on; 0 is none.
        """
        if version is None and not shares:
            raise ValueError("an alias names a version, or shares of several")
        request = pb.SetModelAliasRequest(
            name=model_name(model),
            alias=alias_id(alias),
            version=version if version is not None else next(iter(shares or {})),
            etag=etag,
            shares=[model_pb2.AliasShare(version=number, weight=weight) for number, weight in (shares or {}).items()],
            shadow_version=shadow or 0,
            keep_shadow=shadow is None,
        )
        return await self._service.call(self._stub.SetModelAlias, request, safe=not etag)

    async def delete_alias(self, model: Reference, alias: str) -> model_pb2.Model:
        """Deletes an alias. Its version stays."""
        request = pb.DeleteModelAliasRequest(name=model_name(model), alias=alias_id(alias))
        return await self._service.call(self._stub.DeleteModelAlias, request, safe=False)

    async def version(self, model: Reference) -> model_pb2.ModelVersion:
        """A version: `iris/versions/3`, `iris@prod`, or `iris` for the latest."""
        request = pb.GetModelVersionRequest(name=version_name(model))
        return await self._service.call(self._stub.GetModelVersion, request, safe=True)

    async def versions(self, model: Reference) -> builtins.list[model_pb2.ModelVersion]:
        """The versions of a model, newest first."""
        versions: builtins.list[model_pb2.ModelVersion] = []
        page_token = ""
        while True:
            request = pb.ListModelVersionsRequest(parent=model_name(model), page_size=PAGE_SIZE, page_token=page_token)
            page = await self._service.call(self._stub.ListModelVersions, request, safe=True)
            versions += page.model_versions
            page_token = page.next_page_token
            if not page_token:
                return versions

    async def delete_version(self, version: Reference) -> None:
        """Deletes a version, `iris/versions/3`, that no alias names."""
        request = pb.DeleteModelVersionRequest(name=numbered_version_name(version))
        await self._service.call(self._stub.DeleteModelVersion, request, safe=False)

    async def export(
        self,
        model: Reference,
        path: str | Path | None = None,
        *,
        format: str = "bundle",  # noqa: A002
        overwrite: bool = True,
    ) -> Path:
        """Writes a version to a file and returns where: `bundle` (a zip with all of it), `safetensors` or `onnx`.

        Without a path, or with that of a folder, the file gets the name that the service gives it. The file is there
        whole and with the announced checksum, or not at all; one that was there before is replaced, unless `overwrite`
        is false.

        Raises:
            FileExistsError: There is such a file, and it is not to be replaced.
        """
        form = choose("format", format, pb.ExportFormat)
        request = pb.ExportModelVersionRequest(name=version_name(model), format=form)
        with Download(Path(path) if path is not None else Path(), overwrite=overwrite) as download:
            async with closing(self._service.receive(self._stub.ExportModelVersion, lambda: request)) as stream:
                async for message in stream:
                    if message.WhichOneof("message") == "header":
                        download.begin(message.header.file_name, message.header.size_bytes, message.header.sha256)
                    else:
                        download.write(message.chunk)
            return download.finish()

    async def import_(self, model_id: str, path: str | Path) -> model_pb2.ModelVersion:
        """Makes a version of a bundle that `export` wrote; the model is made if it is not there."""
        content = file_content(Path(path))
        header = pb.BundleHeader(model_id=new_model_id(model_id), size_bytes=content.size_bytes, sha256=content.sha256)

        def requests() -> Iterator[pb.ImportModelVersionRequest]:
            yield pb.ImportModelVersionRequest(header=header)
            for chunk in content.chunks():
                yield pb.ImportModelVersionRequest(chunk=chunk)

        return await self._service.send(self._stub.ImportModelVersion, requests, safe=False)

    async def modules(self) -> builtins.list[pb.ModuleDescription]:
        """The modules that the server's operator offers."""
        page = await self._service.call(self._stub.ListModules, pb.ListModulesRequest(), safe=True)
        return builtins.list(page.modules)

    async def _upload_weights(self, name: str, content: Content) -> model_pb2.Model:
        header = pb.WeightsHeader(name=name, size_bytes=content.size_bytes, sha256=content.sha256)

        def requests() -> Iterator[pb.UploadModelWeightsRequest]:
            yield pb.UploadModelWeightsRequest(header=header)
            for chunk in content.chunks():
                yield pb.UploadModelWeightsRequest(chunk=chunk)

        return await self._service.send(self._stub.UploadModelWeights, requests, safe=True)
