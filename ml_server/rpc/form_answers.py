"""Answers to requests of one form by one version, as bytes: of two answers only the ids and the numbers differ."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from flare.open_inference import grpc_service_pb2 as pb

from ml_server.engines.engine import Outputs
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.prediction.answers import FEW_OUTPUTS, Answer, answers_of, shares_of_row
from ml_server.prediction.observers import Asked
from ml_server.prediction.output_tensors import RequestedOutput, output_tensors
from ml_server.prediction.signature import probabilities_name
from ml_server.prediction.tensors import NamedTensor
from ml_server.registry.values import ModelVersion
from ml_server.rpc.inference_converters import outputs_message
from ml_server.rpc.inference_forms import FormedRequest, tag
from ml_server.rpc.inference_tensors import LENGTH, raw_contents
from servicekit.rpc.packed import varint

ID = bytes([tag(pb.ModelInferResponse, "id")])
CONTENTS = bytes([tag(pb.ModelInferResponse, "raw_output_contents")])
FP64 = struct.Struct("<d")

Write = Callable[[list[float]], bytes]
"""Makes contents of what the network says of a row."""


class FormAnswers:
    """Writes answers. What is the same in all of them is there once the first one is written."""

    def __init__(self) -> None:
        self._head: tuple[bytes, bytes] | None = None
        self._write_row: Write | None = None

    def of_outputs(self, asked: Asked, requests: Sequence[FormedRequest], outputs: Outputs) -> list[bytes]:
        """As `of`, from the network's outputs (N, targets.outputs)."""
        if self._write_row is not None:
            rows = map(self._write_row, outputs.tolist())
            return [self._written(request.id, row) for request, row in zip(requests, rows, strict=True)]
        form, targets = requests[0].form, asked.served.targets
        answers = self.of(requests, asked.version, answers_of(targets, outputs))
        if form.rows == 1 and targets.outputs <= FEW_OUTPUTS:
            self._write_row = _row_writer(targets, form.requested)
        return answers

    def of(self, requests: Sequence[FormedRequest], version: ModelVersion, answers: Sequence[Answer]) -> list[bytes]:
        """For each request the message that `infer_response` would make; the rows are theirs, in order."""
        count = len(requests)
        tensors = output_tensors(answers, requests[0].form.requested)
        if self._head is None:
            # The tensors that a version answers a form with have the same names and shapes each time.
            before = pb.ModelInferResponse(model_name=version.model.id, model_version=str(version.number))
            of_one = [replace(each, shape=(each.shape[0] // count, *each.shape[1:])) for each in tensors]
            self._head = before.SerializeToString(), outputs_message(of_one).SerializeToString()
        contents = [_contents(tensor, count) for tensor in tensors]
        rows = map(b"".join, zip(*contents, strict=True))
        return [self._written(request.id, own) for request, own in zip(requests, rows, strict=True)]

    def _written(self, request_id: bytes, contents: bytes) -> bytes:
        assert self._head is not None
        before, after = self._head
        if not request_id:
            return before + after + contents
        return b"".join((before, ID, varint(len(request_id)), request_id, after, contents))


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
    return list(map(_after_length, parts))


def _after_length(content: bytes) -> bytes:
    return CONTENTS + varint(len(content)) + content


def _row_writer(targets: FittedTargets, requested: Sequence[RequestedOutput]) -> Write | None:
    """What writes all outputs asked for; None if one of them takes more than a row's numbers as they are."""
    writes = _writes(targets, requested)
    if not writes:
        return None
    if len(writes) == 1 and len(targets.targets) == 1:
        return writes[0][1]
    return lambda row: b"".join([write(row[part]) for part, write in writes])


def _writes(targets: FittedTargets, requested: Sequence[RequestedOutput]) -> list[tuple[slice, Write]]:
    """What writes each output asked for, with the part of the row that it takes; none as `_row_writer` says."""
    names: dict[str, tuple[slice, Write]] = {}
    whole: list[tuple[slice, Write]] = []
    for target, part in targets.slices:
        if target.task is Task.REGRESSION:
            names[target.name] = part, partial(_value, target)
            whole.append(names[target.name])
            continue
        labels = [_after_length(LENGTH.pack(len(text)) + text) for text in map(str.encode, target.classes)]
        shares = struct.Struct(f"<{len(labels)}f")
        head = CONTENTS + varint(shares.size)
        names[target.name] = part, partial(_label, labels)
        name = probabilities_name(target.name, [each.name for each in targets.targets])
        names[name] = part, partial(_shares, head, shares.pack)
        whole.append((part, partial(_label_and_shares, labels, head, shares.pack)))
    if not requested:
        return whole
    if any(output.top for output in requested):
        return []
    return [names[output.name] for output in requested]


def _value(target: FittedTarget, outputs: list[float]) -> bytes:
    return _after_length(FP64.pack(outputs[0] * target.deviation + target.mean))


def _label(labels: list[bytes], outputs: list[float]) -> bytes:
    shares = shares_of_row(outputs)
    return labels[shares.index(max(shares))]


def _shares(head: bytes, pack: Callable[..., bytes], outputs: list[float]) -> bytes:
    return head + pack(*shares_of_row(outputs))


def _label_and_shares(labels: list[bytes], head: bytes, pack: Callable[..., bytes], outputs: list[float]) -> bytes:
    shares = shares_of_row(outputs)
    return labels[shares.index(max(shares))] + head + pack(*shares)
