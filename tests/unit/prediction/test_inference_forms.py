"""Requests read by their form mean what the messages mean, and their answers are those that messages would be."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from flare.open_inference import grpc_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from ml_server.features.columns import ColumnType
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.prediction.answers import Answer, Classification, Regression
from ml_server.prediction.observers import Asked
from ml_server.prediction.predictor import Prediction
from ml_server.registry.values import Model, ModelVersion, VersionDetails
from ml_server.rpc.form_answers import FormAnswers
from ml_server.rpc.inference_converters import infer_response, requested_outputs, version_reference
from ml_server.rpc.inference_forms import FormedRequest, RequestReader, joined_inputs
from ml_server.rpc.inference_tensors import DTYPE_OF, input_tensors

NOW = datetime(2024, 5, 17, tzinfo=UTC)
IRIS = Model("u", "accounts/ann", "iris", "", ModelSpecification(architecture=MlpSpecification()), NOW, NOW)
VERSION = ModelVersion(IRIS, 3, VersionDetails(parameter_count=1, digest="d"), 1, NOW, "versions/u/a")
PLAIN = sorted(set(DTYPE_OF) - {"BOOL", "BF16"})
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)


@st.composite
def requests(draw: st.DrawFn) -> pb.ModelInferRequest:
    """A request for one or two outputs with raw tensors of plain datatypes."""
    rows = draw(st.integers(1, 200))
    request = pb.ModelInferRequest(
        model_name=draw(st.sampled_from(["iris", "iris@prod", "models/iris/versions/3"])),
        id=draw(st.text(st.characters(codec="ascii"), max_size=300)),
    )
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        datatype = draw(st.sampled_from(PLAIN))
        shape = (rows, *draw(st.sampled_from([(), (1,), (3,), (2, 2)])))
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        size = int(np.prod(shape)) * DTYPE_OF[datatype].itemsize
        request.raw_input_contents.append(draw(st.binary(min_size=size, max_size=size)))
    if draw(st.booleans()):
        request.outputs.add(name="kind_probabilities").parameters["classification"].int64_param = draw(
            st.integers(1, 4)
        )
    if draw(st.booleans()):
        request.outputs.add(name="price")
    return request


def prediction(rows: int) -> Prediction:
    generator = np.random.default_rng(rows)
    shares = generator.dirichlet(np.ones(3), rows)
    kind = Classification("kind", ("a", "bé", "c" * 150), shares.argmax(axis=1), shares)
    answers: list[Answer] = [kind, Regression("price", generator.standard_normal(rows))]
    return Prediction(VERSION, rows, answers)


def part(whole: Prediction, start: int, stop: int) -> Prediction:
    kind, price = whole.answers
    assert isinstance(kind, Classification)
    assert isinstance(price, Regression)
    own = Classification(kind.target, kind.classes, kind.labels[start:stop], kind.probabilities[start:stop])
    return Prediction(whole.version, stop - start, [own, Regression(price.target, price.values[start:stop])])


def formed(reader: RequestReader, message: pb.ModelInferRequest) -> FormedRequest:
    read = reader(message.SerializeToString())
    assert isinstance(read, FormedRequest)
    return read


@given(requests())
def test_a_form_says_what_the_message_says(message: pb.ModelInferRequest) -> None:
    reader = RequestReader()
    for _ in range(2):  # the second one finds the form
        read = formed(reader, message)
        assert read.id.decode() == message.id
        assert read.form.reference == version_reference(message.model_name, message.model_version)
        for own, expected in zip(read.tensors, input_tensors(message), strict=True):
            assert (own.name, own.datatype, own.shape) == (expected.name, expected.datatype, expected.shape)
            assert np.asarray(own.values).tobytes() == np.asarray(expected.values).tobytes()


@given(requests(), st.integers(1, 5))
def test_each_of_several_requests_gets_the_answer_that_its_message_would(
    message: pb.ModelInferRequest, count: int
) -> None:
    reader, rows = RequestReader(), message.inputs[0].shape[0]
    read = []
    for number in range(count):
        message.id = f"{message.id}{number}"[-200:]
        read.append(formed(reader, message))
    whole, answers = prediction(rows * count), FormAnswers()
    for _ in range(2):  # the second time with what the first one kept
        for number, (own, answer) in enumerate(zip(read, answers.of(read, whole.version, whole.answers), strict=True)):
            message.id = own.id.decode()
            own_rows = part(whole, number * rows, (number + 1) * rows)
            expected = infer_response(message, requested_outputs(message), own_rows)
            assert pb.ModelInferResponse.FromString(answer) == expected
    joined = joined_inputs(read)
    for at, tensor in enumerate(joined.tensors):
        assert tensor.shape[0] == rows * count
        assert np.asarray(tensor.values).tobytes() == message.raw_input_contents[at] * count


THREE, TWO = Task.MULTICLASS_CLASSIFICATION, Task.BINARY_CLASSIFICATION
TARGETS = FittedTargets(
    targets=(
        FittedTarget(name="kind", type=ColumnType.CATEGORICAL, task=THREE, classes=("a", "bé", "c" * 150)),
        FittedTarget(name="price", type=ColumnType.FLOAT, task=Task.REGRESSION, mean=7.5, deviation=0.3),
        FittedTarget(name="is", type=ColumnType.BOOLEAN, task=TWO, classes=("false", "true")),
    )
)
NUMBER = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    st.lists(st.tuples(*[NUMBER] * TARGETS.outputs), min_size=1, max_size=20),
    st.lists(st.sampled_from(["kind", "kind_probabilities", "price", "is", "is_probabilities"]), max_size=4),
    st.booleans(),
)
def test_single_rows_are_answered_as_any_others(rows: list[tuple[float, ...]], names: list[str], has_id: bool) -> None:
    message = of_one(id="7" if has_id else "")
    for name in names:
        message.outputs.add(name=name)
    outputs = np.array(rows, np.float32)
    read = [formed(RequestReader(), message)] * len(rows)
    asked = Asked("accounts/ann", read[0].form.reference, VERSION, Mock(targets=TARGETS))
    answers = FormAnswers()
    first, later = [answers.of_outputs(asked, read, outputs) for _ in range(2)]
    for own, expected in zip(map(pb.ModelInferResponse.FromString, later), first, strict=True):
        known = pb.ModelInferResponse.FromString(expected)
        for output, given_raw, raw in zip(own.outputs, own.raw_output_contents, known.raw_output_contents, strict=True):
            if output.datatype == "FP32":  # to within an ulp
                shares, others = np.frombuffer(given_raw, np.float32), np.frombuffer(raw, np.float32)
                np.testing.assert_allclose(shares, others, rtol=2e-7, atol=1e-44)
            else:
                assert given_raw == raw
        del own.raw_output_contents[:], known.raw_output_contents[:]
        assert own == known


def of_one(**fields: Any) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=fields.pop("datatype", "FP32"), shape=[1, 2])
    raw = fields.pop("raw", [bytes(8)])
    return pb.ModelInferRequest(model_name="iris", inputs=[tensor], raw_input_contents=raw, **fields)


@pytest.mark.parametrize(
    "message",
    [
        of_one(raw=[bytes(7)]),
        of_one(raw=[bytes(8), bytes(8)]),
        of_one(raw=[]),
        of_one(datatype="BOOL", raw=[bytes(2)]),
        of_one(datatype="FP128"),
        of_one(id="ü"),
        of_one(parameters={"priority": pb.InferParameter(int64_param=1)}),
        of_one(model_version="no version"),
        of_one(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="x" * 5000)]),
        pb.ModelInferRequest(model_name="iris", raw_input_contents=[b"1"]),
        pb.ModelInferRequest(),
    ],
    ids=lambda message: str(message)[:40],
)
def test_what_is_in_no_form_is_a_message(message: pb.ModelInferRequest) -> None:
    assert RequestReader()(message.SerializeToString()) == message


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused_as_by_protobuf(data: bytes) -> None:
    try:
        expected = pb.ModelInferRequest.FromString(data)
    except Exception as error:
        with pytest.raises(type(error)):
            RequestReader()(data)
    else:
        read = RequestReader()(data)
        assert read == expected or isinstance(read, FormedRequest)


def test_forms_beyond_the_limit_take_the_place_of_the_oldest() -> None:
    reader = RequestReader(max_forms=2)
    forms = []
    for name in ("a", "b", "c", "c", "a"):
        message = of_one()
        message.inputs[0].name = name
        forms.append(formed(reader, message).form)
    assert forms[2] is forms[3]
    assert forms[0] is not forms[4]
