"""A specification is the same value after any way through JSON or the contract."""

import json
import math
import types
import typing
from enum import Enum
from typing import Any, Literal

import pytest
from annotated_types import Ge, Le, Lt, MaxLen, MinLen, Predicate
from flare.ml.v1 import specification_pb2, torch_graph_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_server.networks.graph_specification import GraphNode, OperationValue
from ml_server.networks.specification import ModelSpecification, ModuleParameter
from ml_server.networks.values import Value
from ml_server.rpc.specification_converters import model_specification, model_specification_message
from servicekit.errors import InvalidArgument, Reason

LARGEST = 2**31 - 1
NAMES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,20}\Z")


def specifications() -> st.SearchStrategy[ModelSpecification]:
    """Any specification, made from the values' own annotations: a new field is drawn at once."""
    return _of_type(ModelSpecification, ())


def _of_type(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _of_type(arguments[0], (*arguments[1:], *metadata))
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_of_type(argument, ()) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        shortest = _limit(metadata, MinLen, "min_length", 0)
        longest = min(_limit(metadata, MaxLen, "max_length", 4), 4)
        return st.lists(_of_type(arguments[0], ()), min_size=shortest, max_size=longest).map(tuple)
    if isinstance(annotation, type) and issubclass(annotation, Value):
        return _value(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    return _scalar(annotation, metadata)


def _value(value_class: type[Value]) -> st.SearchStrategy[Any]:
    strategies = {
        name: NAMES if (value_class, name) in _NAMED else _of_type(field.annotation, tuple(field.metadata))
        for name, field in value_class.model_fields.items()
    }
    return st.builds(value_class, **strategies)


def _scalar(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if annotation is type(None):
        return st.none()
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        largest = min(_limit(metadata, Le, "le", LARGEST), LARGEST)
        drawn = st.integers(_limit(metadata, Ge, "ge", -100), largest)
        return drawn.filter(bool) if any(isinstance(item, Predicate) for item in metadata) else drawn
    if annotation is float:
        # Zero stands for a default in some fields, so bounded ones keep away from it.
        largest = 0.5 if any(isinstance(item, Lt) for item in metadata) else _limit(metadata, Le, "le", 1e6)
        smallest = 0.25 if any(isinstance(item, Ge) for item in metadata) else -1e6
        return st.floats(smallest, largest, allow_nan=False)
    if annotation is str:
        return NAMES
    raise TypeError(f"no strategy for {annotation!r} with {metadata!r}")


def _limit(metadata: tuple[Any, ...], constraint: type, attribute: str, otherwise: Any) -> Any:
    return next((getattr(item, attribute) for item in metadata if isinstance(item, constraint)), otherwise)


_NAMED = {(GraphNode, "id"), (ModuleParameter, "name")}


SLOW = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(specifications())
def test_message_and_back_is_the_same_value(specification: ModelSpecification) -> None:
    message = model_specification_message(specification)
    parsed = specification_pb2.ModelSpecification.FromString(message.SerializeToString())
    assert model_specification(parsed) == specification


@SLOW
@given(specifications())
def test_json_and_back_is_the_same_value(specification: ModelSpecification) -> None:
    text = specification.model_dump_json()
    assert ModelSpecification.model_validate_json(text) == specification
    assert json.loads(text)["architecture"]["kind"] == specification.architecture.kind


def test_every_operation_of_the_contract_has_a_value() -> None:
    operations = torch_graph_pb2.GraphNode.DESCRIPTOR.oneofs_by_name["operation"].fields
    values = {value.model_fields["op"].default: value for value in OperationValue.__subclasses__()}
    assert {field.name for field in operations} == set(values)
    for field in operations:
        assert field.message_type is not None
        assert {part.name for part in field.message_type.fields} | {"op"} == set(values[field.name].model_fields)


def test_what_the_contract_leaves_open_becomes_the_default() -> None:
    message = specification_pb2.ModelSpecification()
    message.cnn.image.channels, message.cnn.image.height, message.cnn.image.width = 1, 8, 8
    message.cnn.blocks.add(out_channels=4)
    specification = model_specification(message)
    again = model_specification_message(specification)
    block = again.cnn.blocks[0]
    assert (block.kernel_size, block.stride, block.pooling_size) == (3, 1, 2)
    assert block.activation == torch_graph_pb2.ACTIVATION_KIND_RELU
    assert not block.HasField("padding")
    assert not again.cnn.HasField("head")
    assert again.preprocessing.numeric_encoding == specification_pb2.ENCODING_STANDARDIZE


def test_a_padding_of_zero_is_not_the_default() -> None:
    message = specification_pb2.ModelSpecification()
    message.cnn.image.channels, message.cnn.image.height, message.cnn.image.width = 1, 8, 8
    message.cnn.blocks.add(out_channels=4, padding=0)
    assert model_specification_message(model_specification(message)).cnn.blocks[0].HasField("padding")


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_path(scale: float) -> None:
    message = specification_pb2.ModelSpecification()
    message.torch_graph.input_shape.append(3)
    message.torch_graph.nodes.add(id="a", inputs=["input"], affine=torch_graph_pb2.Affine(scale=1))
    message.torch_graph.nodes.add(id="b", inputs=["a"], affine=torch_graph_pb2.Affine(scale=scale))
    message.torch_graph.output = "b"
    with pytest.raises(InvalidArgument) as caught:
        model_specification(message)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in caught.value.violations] == [
        "specification.torch_graph.nodes[1].affine.scale"
    ]
