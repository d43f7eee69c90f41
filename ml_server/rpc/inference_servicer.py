"""The Open Inference Protocol with Triton's extensions, on the versions of this server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from functools import partial

from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import grpc_service_pb2_grpc

from ml_server.prediction.message_sizes import require_tensors
from ml_server.prediction.predictor import Predictor
from ml_server.prediction.repository import Repository
from ml_server.prediction.tensor_inputs import TensorInputs
from ml_server.rpc.formed_inference import INLINE_ROWS, FormedInference
from ml_server.rpc.inference_converters import (
    config_message,
    index_message,
    infer_response,
    metadata_message,
    requested_outputs,
    statistics_message,
    stream_error,
    stream_response,
    version_reference,
)
from ml_server.rpc.inference_forms import FormedRequest, RequestReader, written_answer
from ml_server.rpc.inference_tensors import input_tensors
from servicekit.errors import FlareError, InvalidArgument, Reason, Unimplemented
from servicekit.identity import current_caller
from servicekit.readiness import Readiness
from servicekit.rpc.codecs import Codec
from servicekit.rpc.interceptor import Context

PREDICT = "predictions.read"
# The contract is not ours, so it can't say who may call what. Probes have no token, as with grpc.health.v1.
SCOPES = {
    "ServerLive": None,
    "ServerReady": None,
    "ModelReady": PREDICT,
    "ServerMetadata": PREDICT,
    "ModelMetadata": PREDICT,
    "ModelInfer": PREDICT,
    "ModelStreamInfer": PREDICT,
    "ModelConfig": PREDICT,
    "ModelStatistics": PREDICT,
    "RepositoryIndex": PREDICT,
    "RepositoryModelLoad": PREDICT,
    "RepositoryModelUnload": PREDICT,
    "SystemSharedMemoryStatus": PREDICT,
    "SystemSharedMemoryRegister": PREDICT,
    "SystemSharedMemoryUnregister": PREDICT,
    "CudaSharedMemoryStatus": PREDICT,
    "CudaSharedMemoryRegister": PREDICT,
    "CudaSharedMemoryUnregister": PREDICT,
    "TraceSetting": PREDICT,
    "LogSettings": PREDICT,
}
SERVER_NAME = "flare"
EXTENSIONS = ("classification", "model_configuration", "model_repository", "parameters", "statistics")
# What is converted in less than a millisecond is converted where it came.
INLINE_BYTES = 256 << 10


class InferenceServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """Converts, calls, converts."""

    def __init__(
        self,
        predictor: Predictor,
        repository: Repository,
        readiness: Readiness,
        server_version: str,
        message_bytes: int,
    ) -> None:
        """`message_bytes` is how many a message of this server may have."""
        self._predictor = predictor
        self._message_bytes = message_bytes
        self._formed = FormedInference(predictor, message_bytes)
        self.codecs = {"ModelInfer": Codec(RequestReader(), written_answer)}
        self._repository = repository
        self._readiness = readiness
        self._server_version = server_version

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=await self._readiness.check())

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=self._server_version, extensions=EXTENSIONS)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        reference = version_reference(request.name, request.version)
        return pb.ModelReadyResponse(ready=await self._repository.is_ready(_owner(), reference))

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        reference = version_reference(request.name, request.version)
        return metadata_message(await self._repository.describe(_owner(), reference))

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        reference = version_reference(request.name, request.version)
        return config_message(await self._repository.describe(_owner(), reference), self._message_bytes)

    def ModelInfer(  # type: ignore[override]  # as the codec reads and writes
        self, request: FormedRequest | pb.ModelInferRequest, context: Context
    ) -> Awaitable[bytes | pb.ModelInferResponse]:
        if isinstance(request, FormedRequest):
            return self._formed.answer(_owner(), request)
        return self._infer(request)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        # One after another: reply i belongs to request i, and the caller's own pace bounds what waits here.
        async for request in request_iterator:
            try:
                response = stream_response(request, await self._infer(request))
            except FlareError as error:
                response = stream_error(request, error.message)
            yield response

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        reference = version_reference(request.name, request.version) if request.name else None
        return statistics_message(await self._repository.statistics(_owner(), reference))

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        _require_no_repository(request.repository_name)
        return index_message(await self._repository.index(_owner(), ready_only=request.ready))

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        _require_no_repository(request.repository_name)
        if request.parameters:
            message = "models come by training and by ImportModelVersion, not with this call: leave out the parameters"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="parameters")
        await self._repository.load(_owner(), version_reference(request.model_name, "", "model_name"))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        _require_no_repository(request.repository_name)
        await self._repository.unload(_owner(), version_reference(request.model_name, "", "model_name").model)
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        return pb.SystemSharedMemoryStatusResponse()

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        raise _no_shared_memory()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        raise _no_shared_memory()

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(self, request: pb.TraceSettingRequest, context: Context) -> pb.TraceSettingResponse:
        raise Unimplemented(Reason.METHOD_UNSUPPORTED, "traces of single requests are not kept: see the metrics")

    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:
        raise Unimplemented(Reason.METHOD_UNSUPPORTED, "logging is set by the server's settings, not by its callers")

    async def _infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        reference = version_reference(request.model_name, request.model_version, "model_name")
        # On a thread a large conversion delays nobody else, and a small one only itself.
        is_small = request.ByteSize() <= INLINE_BYTES
        tensors = input_tensors(request) if is_small else await asyncio.to_thread(input_tensors, request)
        wanted = requested_outputs(request)
        check = partial(require_tensors, requested=wanted, message_bytes=self._message_bytes)
        prediction = await self._predictor.predict(_owner(), reference, TensorInputs(tensors), request.id, check)
        if prediction.rows <= INLINE_ROWS:
            return infer_response(request, wanted, prediction)
        return await asyncio.to_thread(infer_response, request, wanted, prediction)


def _owner() -> str:
    return current_caller().subject


def _require_no_repository(name: str) -> None:
    if name:
        message = f"there is one repository, that of your own models, and none named '{name[:80]}': leave out the name"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="repository_name")


def _no_shared_memory() -> Unimplemented:
    return Unimplemented(Reason.METHOD_UNSUPPORTED, "shared memory is not read: send tensors in the message")
