"""Tensors of the Open Inference Protocol: what is written is read back, and what contradicts itself is refused."""

from typing import Any

import numpy as np
import pytest
from flare.open_inference import grpc_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from ml_server.prediction.tensors import Datatype, NamedTensor
from ml_server.rpc.inference_tensors import DTYPE_OF, FIELD_OF, input_tensors, raw_contents, typed_contents
from servicekit.errors import InvalidArgument, Reason

Infer = pb.ModelInferRequest
SHAPES = np_st.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[Datatype]) -> NamedTensor:
    """A tensor of one of the datatypes, with any numbers that it can hold, NaN and infinities among them."""
    datatype, shape = draw(st.sampled_from(datatypes)), draw(SHAPES)
    if datatype is Datatype.BYTES:
        size = int(np.prod(shape))
        return NamedTensor("x", datatype, shape, draw(st.lists(st.binary(max_size=5), min_size=size, max_size=size)))
    values = draw(np_st.arrays(DTYPE_OF[datatype], shape))
    return NamedTensor("x", datatype, shape, values.ravel())


def request(*sent: NamedTensor, raw: bool) -> Infer:
    inputs = [
        Infer.InferInputTensor(
            name=each.name, datatype=each.datatype, shape=each.shape, contents=None if raw else typed_contents(each)
        )
        for each in sent
    ]
    return Infer(inputs=inputs, raw_input_contents=map(raw_contents, sent) if raw else ())


def equal(one: NamedTensor, other: NamedTensor) -> bool:
    """NaN is equal to NaN, and each zero to itself alone."""
    if isinstance(one.values, np.ndarray) and isinstance(other.values, np.ndarray):
        same = one.values.tobytes() == other.values.tobytes() and one.values.dtype == other.values.dtype
    else:
        same = list(one.values) == list(other.values)
    return same and (one.name, one.datatype, one.shape) == (other.name, other.datatype, other.shape)


@given(sent=st.lists(tensors([each for each in Datatype if each is not Datatype.BF16]), min_size=1, max_size=3))
def test_raw_tensors_are_read_as_they_were_written(sent: list[NamedTensor]) -> None:
    read = input_tensors(Infer.FromString(request(*sent, raw=True).SerializeToString()))
    assert all(equal(one, other) for one, other in zip(sent, read, strict=True))


@given(sent=st.lists(tensors(list(FIELD_OF)), min_size=1, max_size=3))
def test_typed_tensors_are_read_as_they_were_written(sent: list[NamedTensor]) -> None:
    read = input_tensors(Infer.FromString(request(*sent, raw=False).SerializeToString()))
    for one, other in zip(sent, read, strict=True):
        if isinstance(one.values, np.ndarray) and np.isnan(one.values.astype(np.float64)).any():
            np.testing.assert_array_equal(one.values, np.asarray(other.values))  # a NaN may lose its payload
        else:
            assert equal(one, other)


@given(upper=np_st.arrays(np.uint16, st.integers(1, 8)))
def test_bf16_is_the_upper_half_of_fp32(upper: np.ndarray[Any, np.dtype[np.uint16]]) -> None:
    (read,) = input_tensors(request(NamedTensor("x", Datatype.BF16, upper.shape, upper), raw=True))
    expected = np.frombuffer(b"".join(b"\0\0" + value.tobytes() for value in upper), "<f4")
    assert isinstance(read.values, np.ndarray)
    assert read.values.tobytes() == expected.tobytes()


def test_raw_numbers_stay_in_the_memory_of_the_request() -> None:
    sent = request(NamedTensor("x", Datatype.FP32, (2, 2), np.arange(4, dtype=np.float32)), raw=True)
    (read,) = input_tensors(sent)
    assert isinstance(read.values, np.ndarray)
    assert read.values.base is not None
    assert not read.values.flags.writeable


def x(**fields: Any) -> Infer.InferInputTensor:
    """A good input of two FP32, with some fields changed."""
    good = {"name": "x", "datatype": "FP32", "shape": [2]}
    return Infer.InferInputTensor(**(good | fields))


CONTENTS = pb.InferTensorContents(fp32_contents=[1, 2])
PARAMETER = {"shared_memory_region": pb.InferParameter(string_param="a")}


@pytest.mark.parametrize(
    ("sent", "reason", "text"),
    [
        (Infer(), Reason.INVALID_FIELD, "has no inputs"),
        (Infer(inputs=[x()]), Reason.SHAPE_MISMATCH, "'x' has 0 elements in fp32_contents, and FP32 [2] takes 2"),
        (Infer(inputs=[x(contents=CONTENTS, shape=[3])]), Reason.SHAPE_MISMATCH, "2 elements in fp32_contents, and FP"),
        (Infer(inputs=[x(contents=CONTENTS, shape=[-1])]), Reason.INVALID_FIELD, "has the shape [-1]: the sizes"),
        (
            Infer(inputs=[x(contents=CONTENTS, datatype="FP64")]),
            Reason.SHAPE_MISMATCH,
            "has 2 elements in fp32_contents, and FP64 [2] takes 2 in fp64_contents",
        ),
        (Infer(inputs=[x(contents=CONTENTS, datatype="float")]), Reason.INVALID_FIELD, "the datatype 'float': it is"),
        (Infer(inputs=[x(datatype="FP16")]), Reason.INVALID_FIELD, "is FP16, which has no typed contents: send it in"),
        (Infer(inputs=[x(parameters=PARAMETER)]), Reason.INVALID_FIELD, "lies in shared memory"),
        (
            Infer(inputs=[x(), x(name="y", parameters=PARAMETER)], raw_input_contents=[bytes(8)]),
            Reason.INVALID_FIELD,
            "input 'y' lies in shared memory, which this server does not read: send it in the message",
        ),
        (
            Infer(inputs=[x()], raw_input_contents=[b"1234567"]),
            Reason.SHAPE_MISMATCH,
            "has 7 bytes, and FP32 [2] takes",
        ),
        (Infer(inputs=[x()], raw_input_contents=[b"", b""]), Reason.INVALID_FIELD, "1 inputs have 2 raw contents"),
        (
            Infer(inputs=[x(contents=CONTENTS)], raw_input_contents=[b"12345678"]),
            Reason.INVALID_FIELD,
            "typed contents beside raw ones",
        ),
        (
            Infer(inputs=[x(datatype="BOOL")], raw_input_contents=[b"\x01\x02"]),
            Reason.INVALID_FIELD,
            "a byte that is neither 0 nor 1",
        ),
        (
            Infer(inputs=[x(datatype="INT8", contents=pb.InferTensorContents(int_contents=[1, 200]))]),
            Reason.INVALID_FIELD,
            "a number that INT8 can't hold",
        ),
        *(
            (Infer(inputs=[x(datatype="BYTES")], raw_input_contents=[raw]), reason, text)
            for raw, reason, text in (
                (b"\1\0\0\0a", Reason.SHAPE_MISMATCH, "has 1 elements, and BYTES [2] takes 2"),
                (b"\1\0\0\0a\2\0\0\0b", Reason.INVALID_FIELD, "the element that begins at byte 5"),
                (b"\1\0\0\0a\2\0", Reason.INVALID_FIELD, "the element that begins at byte 5"),
                (b"\xff\xff\xff\xffa", Reason.INVALID_FIELD, "the element that begins at byte 0"),
            )
        ),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(sent: Infer, reason: Reason, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        input_tensors(sent)
    assert refused.value.reason is reason
    assert text in refused.value.message
    assert len(refused.value.violations) == 1


@given(data=st.binary(max_size=60))
def test_no_bytes_break_the_reading_of_a_request(data: bytes) -> None:
    sent = Infer(inputs=[x(datatype="BYTES")], raw_input_contents=[data])
    try:
        (read,) = input_tensors(sent)
    except InvalidArgument:
        return
    assert raw_contents(read) == data
