"""Answers as tensors with names."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    if not requested:
        return [tensor for answer in answers for tensor in _tensors(answer, answers)]
    names = _names(answers)
    tensors = []
    for index, output in enumerate(requested):
        answer = names.get(output.name)
        if answer is None:
            message = f"there is no output '{output.name}': ask for {', '.join(repr(name) for name in names)}, or none"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"outputs[{index}].name", output=output.name)
        tensors.append(_tensor(output.name, answer, output.top))
    return tensors


def _tensors(answer: Answer, answers: Sequence[Answer]) -> list[NamedTensor]:
    """All tensors of an answer."""
    if isinstance(answer, Regression):
        return [_values(answer)]
    return [_labels(answer), _probabilities(_probabilities_name(answer, answers), answer)]


def _tensor(name: str, answer: Answer, top: int) -> NamedTensor:
    """One of the tensors of an answer."""
    if isinstance(answer, Classification) and name != answer.target:
        return _best(name, answer, top) if top else _probabilities(name, answer)
    if top:
        message = f"output '{name}' has no classes to choose the best of: ask its probabilities for a classification"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="outputs", output=name)
    return _values(answer) if isinstance(answer, Regression) else _labels(answer)


def _names(answers: Sequence[Answer]) -> dict[str, Answer]:
    """The answers by the names of their outputs."""
    names: dict[str, Answer] = {}
    for answer in answers:
        names[answer.target] = answer
        if isinstance(answer, Classification):
            names[_probabilities_name(answer, answers)] = answer
    return names


def _probabilities_name(answer: Answer, answers: Sequence[Answer]) -> str:
    return probabilities_name(answer.target, [each.target for each in answers])


def _values(answer: Regression) -> NamedTensor:
    return NamedTensor(answer.target, Datatype.FP64, (len(answer.values), 1), answer.values)


def _labels(answer: Classification) -> NamedTensor:
    texts = [answer.classes[label].encode() for label in answer.labels.tolist()]
    return NamedTensor(answer.target, Datatype.BYTES, (len(texts), 1), texts)


def _probabilities(name: str, answer: Classification) -> NamedTensor:
    shares = answer.probabilities
    return NamedTensor(name, Datatype.FP32, shares.shape, shares.astype(np.float32, order="C").reshape(-1))


def _best(name: str, answer: Classification, top: int) -> NamedTensor:
    """As Triton writes it: value, index and label of each of the greatest, greatest first."""
    best = answer.best(top)
    shares = np.take_along_axis(answer.probabilities, best, axis=1)
    texts = [
        f"{share:f}:{index}:{answer.classes[index]}".encode()
        for share, index in zip(shares.ravel().tolist(), best.ravel().tolist(), strict=True)
    ]
    return NamedTensor(name, Datatype.BYTES, best.shape, texts)
