"""ModelInfer from bytes to bytes, for raw tensors: what clients send again and again is read once.

Requests of a client differ by their ids and raw contents alone. The rest is a form: it says which version is meant,
which tensors come and which are wanted, and so which bytes an answer has around its own numbers.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from flare.open_inference import grpc_service_pb2 as pb

from ml_server.prediction.gathering import Gathering
from ml_server.prediction.observers import Asked
from ml_server.prediction.output_tensors import RequestedOutput, output_tensors
from ml_server.prediction.predictor import Prediction
from ml_server.prediction.tensor_inputs import TensorInputs
from ml_server.prediction.tensors import Datatype, NamedTensor
from ml_server.registry.values import VersionReference
from ml_server.rpc.inference_converters import outputs_message, requested_outputs, version_reference
from ml_server.rpc.inference_tensors import DATATYPES, DTYPE_OF, raw_contents
from servicekit.errors import InvalidArgument
from servicekit.rpc.packed import varint

MAX_FORMS = 1024
# A form is small, and kept; larger is what has its numbers in typed contents.
MAX_FORM_BYTES = 4096
MAX_VERSIONS = 64
# Their bytes are their numbers, and any bytes are numbers.
PLAIN = frozenset(DTYPE_OF) - {Datatype.BOOL, Datatype.BF16}


def _tag(message: type[pb.ModelInferRequest] | type[pb.ModelInferResponse], name: str) -> int:
    """The byte before the length of a text, bytes or message field."""
    return message.DESCRIPTOR.fields_by_name[name].number << 3 | 2


ID = _tag(pb.ModelInferRequest, "id")
RAW_INPUT = _tag(pb.ModelInferRequest, "raw_input_contents")
FORM_FIELDS = frozenset(
    _tag(pb.ModelInferRequest, each) for each in ("model_name", "model_version", "inputs", "outputs")
)
ANSWER_ID = bytes([_tag(pb.ModelInferResponse, "id")])
RAW_OUTPUT = bytes([_tag(pb.ModelInferResponse, "raw_output_contents")])


Version = tuple[str, int]
"""A model's uid and a version's number."""


@dataclass(frozen=True, slots=True)
class FormTensor:
    """An input of a form: its raw contents are `size_bytes` of numbers of a dtype."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    dtype: "np.dtype[np.generic]"
    size_bytes: int


@dataclass
class Form:
    """All of a request but its id and contents."""

    reference: VersionReference
    inputs: tuple[FormTensor, ...]
    requested: list[RequestedOutput]
    rows: int
    """The first dimension of the first input; 0 if it has none."""
    heads: dict[Version, tuple[bytes, bytes]] = field(default_factory=dict)
    """An answer's bytes before its id and after it, up to its raw contents."""
    gatherings: dict[Version, "Gathering[tuple[Asked, FormedRequest], bytes]"] = field(default_factory=dict)
    """Of requests for the same version."""


@dataclass(slots=True)  # not frozen: each call makes one
class FormedRequest:
    """A request in a known form: the id, and the tensors that lie in the message."""

    form: Form
    id: bytes
    tensors: list[NamedTensor]


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
        tensors = []
        for tensor, (start, stop) in zip(form.inputs, parts[2], strict=True):
            if stop - start != tensor.size_bytes:
                return pb.ModelInferRequest.FromString(message)
            values = np.frombuffer(message, tensor.dtype, tensor.size_bytes // tensor.dtype.itemsize, start)
            tensors.append(NamedTensor(tensor.name, tensor.datatype, tensor.shape, values))
        return FormedRequest(form, parts[1], tensors)

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
        dtype = DTYPE_OF[each.datatype]
        inputs.append(FormTensor(each.name, DATATYPES[each.datatype], shape, dtype, math.prod(shape) * dtype.itemsize))
    try:
        reference = version_reference(request.model_name, request.model_version, "model_name")
        requested = requested_outputs(request)
    except InvalidArgument:
        return None
    if not inputs:
        return None
    return Form(reference, tuple(inputs), requested, inputs[0].shape[0] if inputs[0].shape else 0)


def formed_answers(requests: Sequence[FormedRequest], prediction: Prediction) -> list[bytes]:
    """For each request of one form the message that `infer_response` would make; the rows are theirs, in order."""
    form, version, count = requests[0].form, prediction.version, len(requests)
    tensors = output_tensors(prediction.answers, form.requested)
    key = (version.model.uid, version.number)
    head = form.heads.get(key)
    if head is None:
        # The tensors that a version answers a form with have the same names and shapes each time.
        before = pb.ModelInferResponse(model_name=version.model.id, model_version=str(version.number))
        of_one = [replace(each, shape=(each.shape[0] // count, *each.shape[1:])) for each in tensors]
        head = before.SerializeToString(), outputs_message(of_one).SerializeToString()
        if len(form.heads) >= MAX_VERSIONS:
            form.heads.clear()
        form.heads[key] = head
    contents = [_contents(tensor, count) for tensor in tensors]
    return [_written(head, request.id, own) for request, own in zip(requests, zip(*contents, strict=True), strict=True)]


def _contents(tensor: NamedTensor, count: int) -> list[bytes]:
    """The raw contents of equal parts of a tensor, after their tags and lengths."""
    if count == 1:
        parts = [raw_contents(tensor)]
    elif isinstance(tensor.values, np.ndarray):
        contents = raw_contents(tensor)
        size = len(contents) // count
        parts = [contents[start : start + size] for start in range(0, len(contents), size)]
    else:
        size = len(tensor.values) // count
        parts = [
            raw_contents(replace(tensor, values=tensor.values[start : start + size]))
            for start in range(0, len(tensor.values), size)
        ]
    return [RAW_OUTPUT + varint(len(part)) + part for part in parts]


def _written(head: tuple[bytes, bytes], request_id: bytes, contents: Sequence[bytes]) -> bytes:
    before, after = head
    if not request_id:
        return b"".join((before, after, *contents))
    return b"".join((before, ANSWER_ID, varint(len(request_id)), request_id, after, *contents))


def joined_inputs(requests: Sequence[FormedRequest]) -> TensorInputs:
    """The tensors of requests of one form, their rows one after another."""
    if len(requests) == 1:
        return TensorInputs(requests[0].tensors)
    tensors = []
    for index, (name, datatype, shape) in enumerate(
        (each.name, each.datatype, each.shape) for each in requests[0].form.inputs
    ):
        values = np.concatenate([request.tensors[index].values for request in requests])
        tensors.append(NamedTensor(name, datatype, (shape[0] * len(requests), *shape[1:]), values))
    return TensorInputs(tensors)


def written_answer(answer: pb.ModelInferResponse | bytes) -> bytes:
    """An answer's bytes."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
