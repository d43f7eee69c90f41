"""Tensors between the Open Inference Protocol and their values: typed contents, or raw bytes in little endian."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from flare.open_inference import grpc_service_pb2 as pb
from numpy.typing import NDArray

from ml_server.prediction.tensors import Datatype, NamedTensor, shape_text
from servicekit.errors import InvalidArgument, Reason

Contents = NDArray[Any] | Sequence[bytes]

DTYPE_OF: dict[str, np.dtype[Any]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype("<u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("<i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.BF16: np.dtype("<u2"),  # the upper half of a FP32; NumPy has no such type
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
}
# FP16 and BF16 have no typed contents in the protocol.
FIELD_OF = {
    Datatype.BOOL: "bool_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
# These fields hold narrower numbers too.
WIDER: dict[str, np.dtype[Any]] = {"uint_contents": np.dtype(np.uint32), "int_contents": np.dtype(np.int32)}
DATATYPES = {datatype.value: datatype for datatype in Datatype}
LENGTH = struct.Struct("<I")


def input_tensors(request: pb.ModelInferRequest) -> list[NamedTensor]:
    """The tensors of a request. Numbers that came raw stay where they are, in the memory of the request.

    Raises:
        InvalidArgument: INVALID_FIELD or SHAPE_MISMATCH, if the request contradicts itself.
    """
    inputs, raw = request.inputs, request.raw_input_contents
    if not inputs:
        raise InvalidArgument(Reason.INVALID_FIELD, "the request has no inputs: send a tensor at least", field="inputs")
    for index, each in enumerate(inputs):
        if "shared_memory_region" in each.parameters:
            problem = "lies in shared memory, which this server does not read: send it in the message"
            raise _invalid(each, problem, f"inputs[{index}].parameters")
    if raw and len(raw) != len(inputs):
        message = f"{len(inputs)} inputs have {len(raw)} raw contents: send one for each, or typed contents in each"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="raw_input_contents")
    return [_tensor(each, raw[index] if raw else None, index) for index, each in enumerate(inputs)]


def _tensor(message: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, index: int) -> NamedTensor:
    datatype = DATATYPES.get(message.datatype)
    if datatype is None:
        problem = f"has the datatype '{message.datatype}': it is one of {', '.join(DATATYPES)}"
        raise _invalid(message, problem, f"inputs[{index}].datatype")
    shape = tuple(message.shape)
    if shape and min(shape) < 0:
        problem = f"has the shape {shape_text(shape)}: the sizes of a tensor that is sent are known, and not negative"
        raise _invalid(message, problem, f"inputs[{index}].shape")
    size = math.prod(shape)
    if raw is None:
        values = _typed(message, datatype, size, index)
    elif message.HasField("contents"):
        raise _invalid(message, "has typed contents beside raw ones: send either", f"inputs[{index}].contents")
    else:
        values = _raw(message, datatype, size, raw, index)
    if datatype is Datatype.BF16:
        assert isinstance(values, np.ndarray)
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return NamedTensor(message.name, datatype, shape, values)


def _raw(
    message: pb.ModelInferRequest.InferInputTensor, datatype: Datatype, size: int, raw: bytes, index: int
) -> Contents:
    if datatype is Datatype.BYTES:
        elements = _split(message, raw, index)
        if len(elements) != size:
            raise _wrong_size(message, f"{len(elements)} elements", f"{size}", f"raw_input_contents[{index}]")
        return elements
    dtype = DTYPE_OF[datatype]
    if len(raw) != size * dtype.itemsize:
        expected = f"{size * dtype.itemsize}"
        raise _wrong_size(message, f"{len(raw)} bytes", expected, f"raw_input_contents[{index}]")
    values = np.frombuffer(raw, dtype)
    if datatype is Datatype.BOOL and size and values.view(np.uint8).max() > 1:
        problem = "has a byte that is neither 0 nor 1, and its datatype is BOOL"
        raise _invalid(message, problem, f"raw_input_contents[{index}]")
    return values


def _split(message: pb.ModelInferRequest.InferInputTensor, raw: bytes, index: int) -> list[bytes]:
    """The elements of a BYTES tensor: each comes after its length, in four bytes."""
    elements = []
    at, end = 0, len(raw)
    while at < end:
        start = at + LENGTH.size
        stop = start + LENGTH.unpack_from(raw, at)[0] if start <= end else end + 1
        if stop > end:
            problem = f"is cut short: the element that begins at byte {at} of its contents does not end in them"
            raise _invalid(message, problem, f"raw_input_contents[{index}]")
        elements.append(raw[start:stop])
        at = stop
    return elements


def _typed(message: pb.ModelInferRequest.InferInputTensor, datatype: Datatype, size: int, index: int) -> Contents:
    name = FIELD_OF.get(datatype)
    if name is None:
        problem = f"is {datatype.value}, which has no typed contents: send it in raw_input_contents"
        raise _invalid(message, problem, f"inputs[{index}].contents")
    held: Sequence[Any] = getattr(message.contents, name)
    if len(held) != size:
        others = [(field.name, len(values)) for field, values in message.contents.ListFields()]
        if not held and others:
            sent, count = others[0]
            expected = f"{size} in {name}"
            raise _wrong_size(message, f"{count} elements in {sent}", expected, f"inputs[{index}].contents")
        raise _wrong_size(message, f"{len(held)} elements in {name}", f"{size}", f"inputs[{index}].contents")
    if datatype is Datatype.BYTES:
        return list(held)
    dtype = DTYPE_OF[datatype]
    values = np.array(held, WIDER.get(name, dtype))
    narrow = values.astype(dtype, copy=False)
    if narrow is not values and not np.array_equal(narrow, values):
        raise _invalid(message, f"has a number that {datatype.value} can't hold", f"inputs[{index}].contents")
    return narrow


def _wrong_size(
    message: pb.ModelInferRequest.InferInputTensor, held: str, expected: str, field: str
) -> InvalidArgument:
    problem = f"has {held}, and {message.datatype} {shape_text(message.shape)} takes {expected}"
    return InvalidArgument(Reason.SHAPE_MISMATCH, f"input '{message.name}' {problem}", field=field, input=message.name)


def _invalid(message: pb.ModelInferRequest.InferInputTensor, problem: str, field: str) -> InvalidArgument:
    return InvalidArgument(Reason.INVALID_FIELD, f"input '{message.name}' {problem}", field=field, input=message.name)


def raw_contents(tensor: NamedTensor) -> bytes:
    """The elements as raw bytes."""
    if isinstance(tensor.values, np.ndarray):
        dtype = DTYPE_OF[tensor.datatype]
        values = tensor.values if tensor.values.dtype == dtype else tensor.values.astype(dtype)
        return values.tobytes()
    return b"".join([part for element in tensor.values for part in (LENGTH.pack(len(element)), element)])


def typed_contents(tensor: NamedTensor) -> pb.InferTensorContents:
    """The elements in the field of their datatype."""
    values = tensor.values.tolist() if isinstance(tensor.values, np.ndarray) else tensor.values
    contents = pb.InferTensorContents()
    getattr(contents, FIELD_OF[tensor.datatype]).extend(values)
    return contents
