"""Requests and answers of the Open Inference Protocol between the contract and their values."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import model_config_pb2

from ml_server.engines.engine import EngineName
from ml_server.prediction.message_sizes import columns_size, tensors_size
from ml_server.prediction.output_tensors import RequestedOutput, output_tensors
from ml_server.prediction.predictor import Prediction
from ml_server.prediction.repository import Description, IndexEntry
from ml_server.prediction.signature import column_inputs, features_inputs, outputs
from ml_server.prediction.statistics import VersionStatistics
from ml_server.prediction.tensor_inputs import MAX_ROWS
from ml_server.prediction.tensors import Datatype, NamedTensor, TensorSpecification
from ml_server.registry.values import VersionReference
from ml_server.rpc.inference_tensors import raw_contents, typed_contents
from servicekit.errors import InvalidArgument, Reason

# Triton's words for engines: platform and backend.
PLATFORM_OF = {EngineName.ONNXRUNTIME: "onnxruntime_onnx", EngineName.TORCH: "pytorch_libtorch"}
BACKEND_OF = {EngineName.ONNXRUNTIME: "onnxruntime", EngineName.TORCH: "pytorch"}
MODEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(/versions/[1-9][0-9]{0,17}|@[a-z][a-z0-9-]{0,62})?")
NUMBER = re.compile(r"[1-9][0-9]{0,17}")
ALIAS = re.compile(r"[a-z][a-z0-9-]{0,62}")
CLASSIFICATION = "classification"
EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
FINAL_RESPONSE = "triton_final_response"


@lru_cache(maxsize=4096)
def version_reference(name: str, version: str, field: str = "name") -> VersionReference:
    """The version that a model's name and a version's mean; `field` is where the request has the former.

    The name is `iris`, or one of Flare's own: `models/iris`, `models/iris@prod`, `models/iris/versions/3`. The version
    is a number or an alias; empty for the latest.

    Raises:
        InvalidArgument: INVALID_FIELD.
    """
    model = name.removeprefix("models/")
    if not MODEL.fullmatch(model):
        message = f"'{name[:80]}' names no model: it is such as 'iris', 'iris@prod' or 'models/iris/versions/3'"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field=field)
    reference = VersionReference.parse(f"models/{model}")
    if not version:
        return reference
    if reference.number or reference.alias:
        message = f"'{name}' names a version already, so the version '{version[:80]}' has to be left out"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="version")
    if NUMBER.fullmatch(version):
        return VersionReference(reference.model, number=int(version))
    if ALIAS.fullmatch(version):
        return VersionReference(reference.model, alias=version)
    message = f"'{version[:80]}' names no version: it is a number such as '3', an alias such as 'prod', or nothing"
    raise InvalidArgument(Reason.INVALID_FIELD, message, field="version")


def infer_response(
    request: pb.ModelInferRequest, requested: Sequence[RequestedOutput], prediction: Prediction
) -> pb.ModelInferResponse:
    """The answer to a request for these outputs, in the form that it has: raw, or typed contents."""
    tensors = output_tensors(prediction.answers, requested)
    is_raw = bool(request.raw_input_contents)
    response = pb.ModelInferResponse(
        model_name=prediction.version.model.id,
        model_version=str(prediction.version.number),
        id=request.id,
        raw_output_contents=map(raw_contents, tensors) if is_raw else (),
    )
    response.MergeFrom(outputs_message(tensors))
    if not is_raw:
        for tensor, output in zip(tensors, response.outputs, strict=True):
            output.contents.CopyFrom(typed_contents(tensor))
    return response


def outputs_message(tensors: Iterable[NamedTensor]) -> pb.ModelInferResponse:
    """An answer that names its tensors, without contents."""
    response = pb.ModelInferResponse()
    for tensor in tensors:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return response


def requested_outputs(request: pb.ModelInferRequest) -> list[RequestedOutput]:
    """The outputs that a request names. Raises InvalidArgument (INVALID_FIELD)."""
    return [_requested(each, index) for index, each in enumerate(request.outputs)]


def _requested(message: pb.ModelInferRequest.InferRequestedOutputTensor, index: int) -> RequestedOutput:
    if not message.parameters:
        return RequestedOutput(message.name)
    if "shared_memory_region" in message.parameters:
        problem = "is asked into shared memory, which this server does not write: it comes in the message"
    elif CLASSIFICATION not in message.parameters:
        return RequestedOutput(message.name)
    elif (top := message.parameters[CLASSIFICATION].int64_param) > 0:
        return RequestedOutput(message.name, top)
    else:
        problem = "is asked for a classification: give how many classes as an integer above 0"
    text = f"output '{message.name}' {problem}"
    raise InvalidArgument(Reason.INVALID_FIELD, text, field=f"outputs[{index}].parameters", output=message.name)


def stream_response(request: pb.ModelInferRequest, response: pb.ModelInferResponse) -> pb.ModelStreamInferResponse:
    """An answer in a stream; it is the last one to its request, which is said to those who ask."""
    if EMPTY_FINAL_RESPONSE in request.parameters and request.parameters[EMPTY_FINAL_RESPONSE].bool_param:
        response.parameters[FINAL_RESPONSE].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=response)


def stream_error(request: pb.ModelInferRequest, message: str) -> pb.ModelStreamInferResponse:
    """What a stream says of a request that was refused; it goes on with the next one."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version, id=request.id)
    return pb.ModelStreamInferResponse(error_message=message, infer_response=response)


def metadata_message(description: Description) -> pb.ModelMetadataResponse:
    """A model with the tensors that its version takes and gives."""
    return pb.ModelMetadataResponse(
        name=description.version.model.id,
        versions=map(str, description.numbers),
        platform=PLATFORM_OF[description.version.details.engine_name],
        inputs=map(_tensor_metadata, column_inputs(description.preprocessing.features)),
        outputs=map(_tensor_metadata, outputs(description.preprocessing.targets)),
    )


def _tensor_metadata(tensor: TensorSpecification) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def config_message(description: Description, message_bytes: int) -> pb.ModelConfigResponse:
    """The same as Triton tells it: without the rows' dimension. The form with prepared features is a parameter.

    As many rows make a batch as fit into a message of this size, both as a request and as its answer.
    """
    version, features = description.version, description.preprocessing.features
    sizes = (columns_size(features), tensors_size(description.preprocessing.targets))
    parameters = {
        "version": version.name,
        "digest": version.details.digest,
        "view": version.details.view,
        "features": " or ".join(map(str, features_inputs(features))),
    }
    config = model_config_pb2.ModelConfig(
        name=version.model.id,
        platform=PLATFORM_OF[version.details.engine_name],
        backend=BACKEND_OF[version.details.engine_name],
        version_policy=model_config_pb2.ModelVersionPolicy(
            specific=model_config_pb2.ModelVersionPolicy.Specific(versions=description.numbers)
        ),
        max_batch_size=max(1, min(MAX_ROWS, *(size.most_rows(message_bytes) for size in sizes))),  # 0 says: no batches
        input=[
            model_config_pb2.ModelInput(name=each.name, data_type=_data_type(each.datatype), dims=each.shape[1:])
            for each in column_inputs(features)
        ],
        output=[
            model_config_pb2.ModelOutput(name=each.name, data_type=_data_type(each.datatype), dims=each.shape[1:])
            for each in outputs(description.preprocessing.targets)
        ],
        parameters={
            name: model_config_pb2.ModelParameter(string_value=value) for name, value in parameters.items() if value
        },
    )
    return pb.ModelConfigResponse(config=config)


def _data_type(datatype: Datatype) -> model_config_pb2.DataType.ValueType:
    name = "STRING" if datatype is Datatype.BYTES else datatype.value
    return model_config_pb2.DataType.Value(f"TYPE_{name}")


def index_message(entries: Iterable[IndexEntry]) -> pb.RepositoryIndexResponse:
    """Every version of every model; a model without versions says why nothing can be asked of it."""
    return pb.RepositoryIndexResponse(
        models=[
            pb.RepositoryIndexResponse.ModelIndex(
                name=entry.model,
                version=str(entry.number) if entry.number else "",
                state=entry.state,
                reason=entry.reason,
            )
            for entry in entries
        ]
    )


def statistics_message(statistics: Sequence[VersionStatistics]) -> pb.ModelStatisticsResponse:
    """Sums since the server started."""
    return pb.ModelStatisticsResponse(model_stats=map(_model_statistics, statistics))


def _model_statistics(sums: VersionStatistics) -> pb.ModelStatistics:
    return pb.ModelStatistics(
        name=sums.version.model.id,
        version=str(sums.version.number),
        last_inference=sums.last_milliseconds,
        inference_count=sums.rows,
        execution_count=sums.requests,
        inference_stats=pb.InferStatistics(
            success=pb.StatisticDuration(count=sums.requests, ns=sums.total),
            fail=pb.StatisticDuration(count=sums.failures, ns=sums.failed),
            queue=pb.StatisticDuration(count=sums.requests, ns=sums.waiting),
            compute_input=pb.StatisticDuration(count=sums.requests, ns=sums.input),
            compute_infer=pb.StatisticDuration(count=sums.requests, ns=sums.network),
            compute_output=pb.StatisticDuration(count=sums.requests, ns=sums.output),
        ),
    )
