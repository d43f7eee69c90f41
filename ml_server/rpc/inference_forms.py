"""ModelInfer from bytes to bytes, for raw tensors: what clients send again and again is read once.

Requests of a client differ by their ids and raw contents alone. The rest is a form: it says which version is meant,
which tensors come and which are wanted.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from flare.open_inference import grpc_service_pb2 as pb
from google.protobuf.message import Message

from ml_server.prediction.output_tensors import RequestedOutput
from ml_server.prediction.tensor_inputs import TensorInputs
from ml_server.prediction.tensors import Datatype, NamedTensor
from ml_server.registry.values import VersionReference
from ml_server.rpc.inference_converters import requested_outputs, version_reference
from ml_server.rpc.inference_tensors import DATATYPES, DTYPE_OF
from servicekit.errors import InvalidArgument

if TYPE_CHECKING:
    from ml_server.rpc.formed_inference import FormedVersion

MAX_FORMS = 1024
# A form is small, and kept; larger is what has its numbers in typed contents.
MAX_FORM_BYTES = 4096
# Their bytes are their numbers, and any bytes are numbers.
PLAIN = frozenset(DTYPE_OF) - {Datatype.BOOL, Datatype.BF16}


def tag(message: type[Message], name: str) -> int:
    """The byte before the length of a text, bytes or message field."""
    return message.DESCRIPTOR.fields_by_name[name].number << 3 | 2


ID = tag(pb.ModelInferRequest, "id")
RAW_INPUT = tag(pb.ModelInferRequest, "raw_input_contents")
FORM_FIELDS = frozenset(
    tag(pb.ModelInferRequest, each) for each in ("model_name", "model_version", "inputs", "outputs")
)


@dataclass(frozen=True, slots=True)
class FormTensor:
    """An input of a form: its raw contents are `size_bytes` of numbers of a dtype."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    dtype: "np.dtype[np.generic]"
    size: int
    size_bytes: int


@dataclass
class Form:
    """All of a request but its id and contents."""

    reference: VersionReference
    inputs: tuple[FormTensor, ...]
    requested: list[RequestedOutput]
    rows: int
    """The first dimension of the first input; 0 if it has none."""
    versions: "dict[tuple[str, int], FormedVersion]" = field(default_factory=dict)
    """Those that have answered requests of this form, by model uid and number."""


@dataclass(slots=True)  # not frozen: each call makes one
class FormedRequest:
    """A request in a known form: the id, and the tensors that lie in the message."""

    form: Form
    id: bytes
    message: bytes
    places: list[tuple[int, int]]
    """Where the contents of each input begin and end in the message."""

    @property
    def tensors(self) -> list[NamedTensor]:
        """The inputs, in the memory of the message."""
        return [
            NamedTensor(each.name, each.datatype, each.shape, np.frombuffer(self.message, each.dtype, each.size, start))
            for each, (start, _) in zip(self.form.inputs, self.places, strict=True)
        ]

    def content(self, index: int) -> bytes:
        """The bytes of an input."""
        start, stop = self.places[index]
        return self.message[start:stop]


class RequestReader:
    """Reads requests. What is not in a form that pays, or not right, becomes a message, which others look through."""

    def __init__(self, max_forms: int = MAX_FORMS) -> None:
        self._max_forms = max_forms
        self._forms: OrderedDict[bytes, Form] = OrderedDict()

    def __call__(self, message: bytes) -> FormedRequest | pb.ModelInferRequest:
        """Raises DecodeError if these bytes are no request."""
        parts = _parts(message)
        form = self._form(parts[0]) if parts is not None else None
        if parts is None or form is None or len(parts[2]) != len(form.inputs):
            return pb.ModelInferRequest.FromString(message)
        for tensor, (start, stop) in zip(form.inputs, parts[2], strict=True):
            if stop - start != tensor.size_bytes:
                return pb.ModelInferRequest.FromString(message)
        return FormedRequest(form, parts[1], message, parts[2])

    def _form(self, head: bytes) -> Form | None:
        form = self._forms.get(head)
        if form is None:
            form = _read_form(head)
            if form is None:
                return None
            self._forms[head] = form
            if len(self._forms) > self._max_forms:
                self._forms.popitem(last=False)
        return form


def _parts(message: bytes) -> tuple[bytes, bytes, list[tuple[int, int]]] | None:
    """The form's bytes, the id, and where raw contents begin and end. None if there is anything else, or no raw."""
    at, end, start_of_form = 0, len(message), 0
    form, request_id, raw = b"", b"", []
    while at < end - 1:
        tag, length, start = message[at], message[at + 1], at + 2
        if length > 127:
            length, start = _varint(message, at + 1)
        stop = start + length
        if tag not in FORM_FIELDS:
            form += message[start_of_form:at]
            start_of_form = stop
            if tag == RAW_INPUT:
                raw.append((start, stop))
            elif tag == ID and not request_id:
                request_id = message[start:stop]
            else:
                return None
        at = stop
    form += message[start_of_form:]
    if at != end or not raw or len(form) > MAX_FORM_BYTES or not request_id.isascii():
        return None
    return form, request_id, raw


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; past all messages if it does not."""
    number = shift = 0
    while at < len(message):
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
    return 1 << 62, at


def _read_form(head: bytes) -> Form | None:
    """None if requests of this form have to be looked through, or refused."""
    request = pb.ModelInferRequest.FromString(head)
    inputs = []
    for each in request.inputs:
        shape = tuple(each.shape)
        if each.datatype not in PLAIN or each.parameters or each.HasField("contents") or min(shape, default=0) < 0:
            return None
        dtype, size = DTYPE_OF[each.datatype], math.prod(shape)
        inputs.append(FormTensor(each.name, DATATYPES[each.datatype], shape, dtype, size, size * dtype.itemsize))
    try:
        reference = version_reference(request.model_name, request.model_version, "model_name")
        requested = requested_outputs(request)
    except InvalidArgument:
        return None
    if not inputs:
        return None
    return Form(reference, tuple(inputs), requested, inputs[0].shape[0] if inputs[0].shape else 0)


def joined_inputs(requests: Sequence[FormedRequest]) -> TensorInputs:
    """The tensors of requests of one form, their rows one after another."""
    if len(requests) == 1:
        return TensorInputs(requests[0].tensors)
    tensors = []
    for index, each in enumerate(requests[0].form.inputs):
        values = np.frombuffer(b"".join([request.content(index) for request in requests]), each.dtype)
        shape = (each.shape[0] * len(requests), *each.shape[1:])
        tensors.append(NamedTensor(each.name, each.datatype, shape, values))
    return TensorInputs(tensors)


def written_answer(answer: pb.ModelInferResponse | bytes) -> bytes:
    """An answer's bytes."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
