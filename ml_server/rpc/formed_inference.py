"""Answers requests that are in a form, several of the same form together if they come close together."""

import asyncio
from collections.abc import Sequence
from functools import partial

from ml_server.prediction.gathering import MAX_CALLS, Call, Gathering
from ml_server.prediction.message_sizes import require_tensors
from ml_server.prediction.observers import Asked
from ml_server.prediction.predictor import Check, Predictor
from ml_server.rpc.inference_forms import MAX_VERSIONS, Form, FormedRequest, formed_answers, joined_inputs

# What has more rows is written on a thread.
INLINE_ROWS = 4096

AskedRequest = tuple[Asked, FormedRequest]


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
            gathering = self._gathering(form, asked)
            if gathering.takes():
                return await gathering.answer((asked, request))
            prediction = self._predictor.predict_at_once(asked, joined_inputs([request]), self._check(form))
            return formed_answers([request], prediction)[0]
        inputs = joined_inputs([request])
        check = self._check(form)
        prediction = await self._predictor.predict(owner, form.reference, inputs, request.id.decode(), check)
        if prediction.rows <= INLINE_ROWS:
            return formed_answers([request], prediction)[0]
        (answer,) = await asyncio.to_thread(formed_answers, [request], prediction)
        return answer

    def _check(self, form: Form) -> Check:
        return partial(require_tensors, requested=form.requested, message_bytes=self._message_bytes)

    def _gathering(self, form: Form, asked: Asked) -> Gathering[AskedRequest, bytes]:
        key = (asked.version.model.uid, asked.version.number)
        gathering = form.gatherings.get(key)
        if gathering is None:
            if len(form.gatherings) >= MAX_VERSIONS:
                form.gatherings.clear()
            most = min(asked.served.quick_rows, INLINE_ROWS) // form.rows
            gathering = Gathering(self._answer_all, min(most, MAX_CALLS))
            form.gatherings[key] = gathering
        return gathering

    def _answer_all(self, calls: Sequence[Call[AskedRequest, bytes]]) -> None:
        asked, _ = calls[0].request  # the same version for all of them
        requests = [request for _, request in (call.request for call in calls)]
        try:
            check = self._check(requests[0].form)
            prediction = self._predictor.predict_at_once(asked, joined_inputs(requests), check, len(requests))
            answers = formed_answers(requests, prediction)
        except Exception as error:
            if len(calls) == 1:
                calls[0].answer.set_exception(error)
                return
            for call in calls:  # one of them is to blame: each by itself tells whose it is
                self._answer_all([call])
            return
        for call, answer in zip(calls, answers, strict=True):
            call.answer.set_result(answer)
