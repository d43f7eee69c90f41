"""Answers as tensors with names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ml_server.prediction.answers import Answer, Classification, Regression
from ml_server.prediction.signature import probabilities_name
from ml_server.prediction.tensors import Datatype, NamedTensor
from servicekit.errors import InvalidArgument, Reason


@dataclass(frozen=True)
class RequestedOutput:
    """An output that a client asks for. `top`, if not 0: not the numbers, but so many of the greatest, as texts."""

    name: str
    top: int = 0


def output_tensors(answers: Sequence[Answer], requested: Sequence[RequestedOutput]) -> list[NamedTensor]:
    """The outputs asked for in that order; all of them if none is named.

    Raises:
        InvalidArgument: INVALID_FIELD, for an output that there is not, or that has no classes.
    """
    makers = _makers(answers)
    if not requested:
        return [make(0) for make in makers.values()]
    tensors = []
    for index, output in enumerate(requested):
        make = makers.get(output.name)
        if make is None:
            message = f"there is no output '{output.name}': ask for {', '.join(repr(name) for name in makers)}, or none"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"outputs[{index}].name", output=output.name)
        tensors.append(make(output.top))
    return tensors


def _makers(answers: Sequence[Answer]) -> dict[str, Callable[[int], NamedTensor]]:
    """By output, what makes its tensor: only those that are asked for take time."""
    targets = {answer.target for answer in answers}
    makers: dict[str, Callable[[int], NamedTensor]] = {}
    for answer in answers:
        if isinstance(answer, Regression):
            makers[answer.target] = partial(_values, answer)
        else:
            makers[answer.target] = partial(_labels, answer)
            name = probabilities_name(answer.target, targets)
            makers[name] = partial(_probabilities, name, answer)
    return makers


def _values(answer: Regression, top: int) -> NamedTensor:
    _require_none(answer.target, top)
    return NamedTensor(answer.target, Datatype.FP64, (len(answer.values), 1), answer.values)


def _labels(answer: Classification, top: int) -> NamedTensor:
    _require_none(answer.target, top)
    texts = [answer.classes[label].encode() for label in answer.labels.tolist()]
    return NamedTensor(answer.target, Datatype.BYTES, (len(texts), 1), texts)


def _probabilities(name: str, answer: Classification, top: int) -> NamedTensor:
    probabilities = answer.probabilities
    if not top:
        return NamedTensor(
            name, Datatype.FP32, probabilities.shape, probabilities.astype(np.float32, order="C").reshape(-1)
        )
    # As Triton writes it: value, index and label of each of the greatest, greatest first.
    best = answer.best(top)
    shares = np.take_along_axis(probabilities, best, axis=1)
    texts = [
        f"{value:f}:{index}:{answer.classes[index]}".encode()
        for value, index in zip(shares.ravel().tolist(), best.ravel().tolist(), strict=True)
    ]
    return NamedTensor(name, Datatype.BYTES, best.shape, texts)


def _require_none(name: str, top: int) -> None:
    if top:
        message = f"output '{name}' has no classes to choose the best of: ask its probabilities for a classification"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="outputs", output=name)
