"""Answers as tensors with names."""

from collections.abc import Mapping, Sequence
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


def require_outputs(known: Mapping[str, bool], requested: Sequence[RequestedOutput]) -> None:
    """Raises if what is asked for can't come of a version with these `output_names`.

    Raises:
        InvalidArgument: INVALID_FIELD, for an output that there is not, or that has no classes to choose the best of.
    """
    for index, output in enumerate(requested):
        name = output.name
        if name not in known:
            message = f"there is no output '{name}': ask for {', '.join(map(repr, known))}, or none"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"outputs[{index}].name", output=name)
        if output.top and not known[name]:
            message = (
                f"output '{name}' has no classes to choose the best of: ask its probabilities for a classification"
            )
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="outputs", output=name)


def output_tensors(answers: Sequence[Answer], requested: Sequence[RequestedOutput]) -> list[NamedTensor]:
    """The outputs asked for, which `require_outputs` let pass, in that order; all of them if none is named."""
    if not requested:
        return [tensor for answer in answers for tensor in _tensors(answer, answers)]
    names = _names(answers)
    return [_tensor(output.name, names[output.name], output.top) for output in requested]


def _tensors(answer: Answer, answers: Sequence[Answer]) -> list[NamedTensor]:
    """All tensors of an answer."""
    if isinstance(answer, Regression):
        return [_values(answer)]
    return [_labels(answer), _probabilities(_probabilities_name(answer, answers), answer)]


def _tensor(name: str, answer: Answer, top: int) -> NamedTensor:
    """One of the tensors of an answer."""
    if isinstance(answer, Classification) and name != answer.target:
        return _best(name, answer, top) if top else _probabilities(name, answer)
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
