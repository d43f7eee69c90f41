"""ModelService on the models of this server."""

from collections.abc import AsyncIterator

from flare.ml.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc
from google.protobuf import empty_pb2

from ml_server.networks.registered_module import list_modules
from ml_server.registry.bundle import Preprocessing, read_preprocessing
from ml_server.registry.models import Models
from ml_server.registry.store import ModelStore
from ml_server.registry.transfer import ExportFormat, Transfer
from ml_server.registry.values import ModelVersion, VersionReference
from ml_server.rpc.model_converters import (
    alias_of,
    listed_version_message,
    model_message,
    module_message,
    new_model,
    unsaved_model_message,
    version_message,
)
from servicekit.idempotency import request_key
from servicekit.identity import current_caller
from servicekit.pages import page_size
from servicekit.rpc.interceptor import Context
from servicekit.rpc.pages import next_cursor, number_cursor, number_token, time_cursor, time_token
from servicekit.rpc.uploads import chunks_of, first_of
from servicekit.uploads import Announcement

FORMAT_OF = {
    model_service_pb2.EXPORT_FORMAT_UNSPECIFIED: ExportFormat.BUNDLE,
    model_service_pb2.EXPORT_FORMAT_BUNDLE: ExportFormat.BUNDLE,
    model_service_pb2.EXPORT_FORMAT_SAFETENSORS: ExportFormat.SAFETENSORS,
    model_service_pb2.EXPORT_FORMAT_ONNX: ExportFormat.ONNX,
}


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, store: ModelStore, models: Models, transfer: Transfer) -> None:
        self._store = store
        self._models = models
        self._transfer = transfer

    async def GetModel(self, request: model_service_pb2.GetModelRequest, context: Context) -> model_pb2.Model:
        return model_message(await self._store.get(current_caller().subject, _id(request.name)))

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        limit = page_size(request.page_size)
        before = time_cursor("models", request.page_token)
        models = await self._store.page(current_caller().subject, before, limit + 1)
        more = time_token("models", next_cursor(models, limit, lambda model: (model.create_time, model.uid)))
        return model_service_pb2.ListModelsResponse(models=map(model_message, models[:limit]), next_page_token=more)

    async def CreateModel(self, request: model_service_pb2.CreateModelRequest, context: Context) -> model_pb2.Model:
        owner, new = current_caller().subject, new_model(request)
        if request.validate_only:
            return unsaved_model_message(new, await self._models.check_only(owner, new))
        key = request_key(owner, "CreateModel", request.request_id, request.SerializeToString(deterministic=True))
        return model_message(*await self._models.create(owner, new, key))

    async def DeleteModel(self, request: model_service_pb2.DeleteModelRequest, context: Context) -> empty_pb2.Empty:
        await self._models.delete(current_caller().subject, _id(request.name))
        return empty_pb2.Empty()

    async def UploadModelWeights(
        self, request_iterator: AsyncIterator[model_service_pb2.UploadModelWeightsRequest], context: Context
    ) -> model_pb2.Model:
        header = await first_of(request_iterator, "header")
        announced = Announcement("weights.safetensors", header.size_bytes, header.sha256)
        chunks = chunks_of(request_iterator)
        owner = current_caller().subject
        return model_message(await self._transfer.receive_weights(owner, _id(header.name), announced, chunks))

    async def SetModelAlias(self, request: model_service_pb2.SetModelAliasRequest, context: Context) -> model_pb2.Model:
        model = await self._models.set_alias(
            current_caller().subject,
            _id(request.name),
            request.alias,
            alias_of(request),
            keep_shadow=request.keep_shadow,
            etag=request.etag,
        )
        return model_message(model)

    async def DeleteModelAlias(
        self, request: model_service_pb2.DeleteModelAliasRequest, context: Context
    ) -> model_pb2.Model:
        model = await self._store.get(current_caller().subject, _id(request.name))
        return model_message(await self._store.delete_alias(model, request.alias))

    async def GetModelVersion(
        self, request: model_service_pb2.GetModelVersionRequest, context: Context
    ) -> model_pb2.ModelVersion:
        reference = VersionReference.parse(request.name)
        return await self._message(await self._store.version(current_caller().subject, reference))

    async def ListModelVersions(
        self, request: model_service_pb2.ListModelVersionsRequest, context: Context
    ) -> model_service_pb2.ListModelVersionsResponse:
        model = await self._store.get(current_caller().subject, _id(request.parent))
        limit, listing = page_size(request.page_size), f"versions of {request.parent}"
        before = number_cursor(listing, request.page_token)
        versions = await self._store.versions(model, before, limit + 1)
        more = number_token(listing, next_cursor(versions, limit, lambda version: version.number))
        messages = [listed_version_message(each, await self._preprocessing(each)) for each in versions[:limit]]
        return model_service_pb2.ListModelVersionsResponse(model_versions=messages, next_page_token=more)

    async def DeleteModelVersion(
        self, request: model_service_pb2.DeleteModelVersionRequest, context: Context
    ) -> empty_pb2.Empty:
        await self._models.delete_version(current_caller().subject, VersionReference.parse(request.name))
        return empty_pb2.Empty()

    async def ExportModelVersion(
        self, request: model_service_pb2.ExportModelVersionRequest, context: Context
    ) -> AsyncIterator[model_service_pb2.ExportModelVersionResponse]:
        reference = VersionReference.parse(request.name)
        version = await self._store.version(current_caller().subject, reference)
        async with self._transfer.exported(version, FORMAT_OF[request.format]) as file:
            header = model_service_pb2.FileHeader(file_name=file.name, size_bytes=file.size_bytes, sha256=file.sha256)
            yield model_service_pb2.ExportModelVersionResponse(header=header)
            async for chunk in file.chunks():
                yield model_service_pb2.ExportModelVersionResponse(chunk=chunk)

    async def ImportModelVersion(
        self, request_iterator: AsyncIterator[model_service_pb2.ImportModelVersionRequest], context: Context
    ) -> model_pb2.ModelVersion:
        header = await first_of(request_iterator, "header")
        announced = Announcement("bundle.zip", header.size_bytes, header.sha256)
        chunks = chunks_of(request_iterator)
        owner = current_caller().subject
        return await self._message(await self._transfer.receive_version(owner, header.model_id, announced, chunks))

    async def ListModules(
        self, request: model_service_pb2.ListModulesRequest, context: Context
    ) -> model_service_pb2.ListModulesResponse:
        return model_service_pb2.ListModulesResponse(modules=map(module_message, list_modules()))

    async def _message(self, version: ModelVersion) -> model_pb2.ModelVersion:
        return version_message(version, await self._preprocessing(version))

    async def _preprocessing(self, version: ModelVersion) -> Preprocessing:
        return read_preprocessing(await self._models.files(version))


def _id(name: str) -> str:
    return name.removeprefix("models/")
