"""Answers requests that are in a form, several of the same form together if they come close together."""

import asyncio
from collections.abc import Sequence
from functools import partial

from ml_server.prediction.gathering import MAX_CALLS, Call, Gathering
from ml_server.prediction.predictor import Predictor
from ml_server.registry.values import ModelVersion
from ml_server.rpc.inference_forms import MAX_VERSIONS, Form, FormedRequest, formed_answers, joined_inputs

# What has more rows is written on a thread.
INLINE_ROWS = 4096

FormedCall = Call[FormedRequest, bytes]


class FormedInference:
    """ModelInfer for requests in a form."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def answer(self, owner: str, request: FormedRequest) -> bytes:
        """The answer's message. Raises as Predictor.predict, and for outputs that there are not."""
        form = request.form
        if form.rows:
            quick = self._predictor.quick_version(owner, form.reference, request.id.decode(), form.rows)
            if quick is not None:
                gathering = self._gathering(owner, form, *quick)
                if gathering.takes():
                    return await gathering.answer(request)
        (answer,) = await self._answers(owner, [request])
        return answer

    def _gathering(self, owner: str, form: Form, version: ModelVersion, most: int) -> Gathering[FormedRequest, bytes]:
        key = (version.model.uid, version.number)
        gathering = form.gatherings.get(key)
        if gathering is None:
            if len(form.gatherings) >= MAX_VERSIONS:
                form.gatherings.clear()
            gathering = Gathering(partial(self._answer_all, owner), min(most, MAX_CALLS))
            form.gatherings[key] = gathering
        return gathering

    async def _answer_all(self, owner: str, calls: Sequence[FormedCall]) -> None:
        if len(calls) > 1:
            try:
                answers = await self._answers(owner, [call.request for call in calls])
            except Exception:  # of one of them: each by itself will tell whose
                await asyncio.gather(*(self._answer_one(owner, call) for call in calls))
                return
            for call, answer in zip(calls, answers, strict=True):
                if not call.answer.done():
                    call.answer.set_result(answer)
        elif calls:
            await self._answer_one(owner, calls[0])

    async def _answer_one(self, owner: str, call: FormedCall) -> None:
        try:
            (answer,) = await self._answers(owner, [call.request])
        except Exception as error:
            if not call.answer.done():
                call.answer.set_exception(error)
            return
        if not call.answer.done():
            call.answer.set_result(answer)

    async def _answers(self, owner: str, requests: Sequence[FormedRequest]) -> list[bytes]:
        form, request_id = requests[0].form, requests[0].id.decode()
        inputs = joined_inputs(requests)
        prediction = await self._predictor.predict(owner, form.reference, inputs, request_id, len(requests))
        if prediction.rows <= INLINE_ROWS:
            return formed_answers(requests, prediction)
        return await asyncio.to_thread(formed_answers, requests, prediction)
