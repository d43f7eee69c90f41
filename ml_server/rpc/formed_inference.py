"""Answers requests that are in a form, several of the same form together if they come close together."""

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np

from ml_server.prediction.gathering import MAX_CALLS, Call, Gathering
from ml_server.prediction.message_sizes import require_tensors
from ml_server.prediction.observers import Asked, Inputs
from ml_server.prediction.predictor import Check, Predictor, takes_all
from ml_server.prediction.tensor_inputs import PreparedRows, is_prepared
from ml_server.rpc.form_answers import FormAnswers
from ml_server.rpc.inference_forms import Form, FormedRequest, joined_inputs

# What has more rows is written on a thread.
INLINE_ROWS = 4096
MAX_VERSIONS = 64


class FormedInference:
    """ModelInfer for requests in a form."""

    def __init__(self, predictor: Predictor, message_bytes: int) -> None:
        """`message_bytes` is how many an answer may have."""
        self._predictor = predictor
        self._message_bytes = message_bytes

    async def answer(self, owner: str, request: FormedRequest) -> bytes:
        """The answer's message. Raises as Predictor.predict, and for outputs that there are not."""
        form = request.form
        asked = self._predictor.at_hand(owner, form.reference, request.id.decode())
        if asked is not None and 0 < form.rows <= min(asked.served.quick_rows, INLINE_ROWS):
            version = self._version(form, asked)
            if version.gathering.takes():
                return await version.gathering.answer((asked, request))
            return version.answers(asked, [request])[0]
        inputs, check = joined_inputs([request]), self._check(form)
        prediction = await self._predictor.predict(owner, form.reference, inputs, request.id.decode(), check)
        write = partial(FormAnswers().of, [request], prediction.version, prediction.answers)
        (answer,) = write() if prediction.rows <= INLINE_ROWS else await asyncio.to_thread(write)
        return answer

    def _check(self, form: Form) -> Check:
        return partial(require_tensors, requested=form.requested, message_bytes=self._message_bytes)

    def _version(self, form: Form, asked: Asked) -> "FormedVersion":
        key = (asked.version.model.uid, asked.version.number)
        version = form.versions.get(key)
        if version is None:
            if len(form.versions) >= MAX_VERSIONS:
                form.versions.clear()
            version = form.versions[key] = FormedVersion(self._predictor, form, asked, self._check(form))
        return version


class FormedVersion:
    """Answers requests of one form by one version, which takes all that comes of it at a time without a wait."""

    def __init__(self, predictor: Predictor, form: Form, asked: Asked, check: Check) -> None:
        self._predictor = predictor
        self._form = form
        self._check = check
        self._answers = FormAnswers()
        (first, *others) = form.inputs
        features = asked.served.features
        self._are_prepared = not others and is_prepared(first.name, first.datatype, first.shape, features)
        most_calls = min(min(asked.served.quick_rows, INLINE_ROWS) // form.rows, MAX_CALLS)
        self.gathering: Gathering[tuple[Asked, FormedRequest], bytes] = Gathering(self._answer_all, most_calls)

    def answers(self, asked: Asked, requests: Sequence[FormedRequest]) -> list[bytes]:
        """Their messages. Raises as FormedInference.answer."""
        inputs = self._inputs(asked, requests)
        read = partial(self._answers.of_outputs, asked, requests)
        answers = self._predictor.read_at_once(asked, inputs, read, self._check, len(requests))
        self._check = takes_all  # whatever comes in this form
        return answers

    def _inputs(self, asked: Asked, requests: Sequence[FormedRequest]) -> Inputs:
        if not self._are_prepared:
            return joined_inputs(requests)
        shape = (self._form.rows * len(requests), asked.served.features.layout.columns)
        if len(requests) == 1:
            (request,) = requests
            start, _ = request.places[0]
            return PreparedRows(np.ndarray(shape, np.float32, request.message, start), asked.served.features)
        contents = b"".join([request.content(0) for request in requests])
        return PreparedRows(np.ndarray(shape, np.float32, contents), asked.served.features)

    def _answer_all(self, calls: Sequence[Call[tuple[Asked, FormedRequest], bytes]]) -> None:
        asked, _ = calls[0].request  # the same version for all of them
        try:
            answers = self.answers(asked, [request for _, request in [call.request for call in calls]])
        except Exception as error:
            if len(calls) == 1:
                calls[0].answer.set_exception(error)
                return
            for call in calls:  # one of them is to blame: each by itself tells whose it is
                self._answer_all([call])
            return
        for call, answer in zip(calls, answers, strict=True):
            call.answer.set_result(answer)
