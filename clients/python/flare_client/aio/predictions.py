"""Predictions: raw values in by column name, labels or values out, and what they come of."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
from flare.ml.v1 import prediction_service_pb2 as pb
from flare.ml.v1 import prediction_service_pb2_grpc

from flare_client.aio.runtime import Outbox, Source, Stream, closing, each
from flare_client.aio.service import Service
from flare_client.choices import choose
from flare_client.errors import FlareError
from flare_client.messages import filled
from flare_client.names import Reference, version_name
from flare_client.tables.columns import Rows, column_tables, request_tables
from flare_client.tables.explanations import explanation_frame
from flare_client.tables.predictions import prediction_frame

if TYPE_CHECKING:
    import pandas as pd

REQUESTS_IN_FLIGHT = 4
PREDICT_SECONDS = 60.0
EXPLAIN_SECONDS = 600.0
# The service's own: a request whose cells x steps are no more than these runs is taken, whatever the method.
RUNS_OF_AN_EXPLANATION = 1_000_000
USUAL_STEPS = 50


class Predictions:
    """Predicts with trained versions, and explains what they predict."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(service.channel)

    async def predict(
        self,
        model: Reference,
        rows: Rows,
        *,
        top: int = 0,
        partial: bool = False,
        id: str = "",  # noqa: A002
    ) -> pd.DataFrame:
        """A prediction for each row, in their order, all by the same version.

        If an alias is shared out among versions, equal ids get the same one; without an id it is decided anew.
        """
        name = version_name(model)
        responses: list[pb.PredictResponse] = []
        for table in request_tables(rows, partial=partial):
            request = filled(pb.PredictRequest, name=name, **table, top=top, partial=partial, id=id)
            responses.append(await self._service.call(self._stub.Predict, request, safe=True, seconds=PREDICT_SECONDS))
            name = responses[0].version  # an alias that moves meanwhile must not mix two versions
        return prediction_frame(responses)

    async def explain(
        self,
        model: Reference,
        rows: Rows,
        *,
        target: str = "",
        class_label: str = "",
        method: str = "",
        steps: int = 0,
        seed: int = 0,
        id: str = "",  # noqa: A002
        seconds: float = EXPLAIN_SECONDS,
    ) -> pd.DataFrame:
        """What each column contributed to the predictions for rows, all of the same version and by the same method."""
        request = filled(
            pb.ExplainRequest,
            name=version_name(model),
            target=target,
            class_label=class_label,
            method=choose("method", method, pb.ExplanationMethod),
            steps=steps,
            seed=seed,
            id=id,
        )
        responses: list[pb.ExplainResponse] = []
        for table in column_tables(rows, RUNS_OF_AN_EXPLANATION // max(1, request.steps or USUAL_STEPS)):
            request.columns.CopyFrom(table)
            responses.append(await self._service.call(self._stub.Explain, request, safe=True, seconds=seconds))
            request.name, request.method = responses[0].version, responses[0].method
        return explanation_frame(responses)

    async def predict_stream(
        self,
        model: Reference,
        tables: Source[Rows],
        *,
        top: int = 0,
        partial: bool = False,
        id: str = "",  # noqa: A002
    ) -> Stream[pd.DataFrame]:
        """A frame of predictions for each table, in their order, over one stream with a few requests on their way.

        The next tables are taken while answers are awaited. When the connection breaks or the token ends, what was not
        answered is sent again. Each table is answered by one version, and all of them by the same one with an `id`.
        """
        asked = filled(pb.PredictRequest, name=version_name(model), top=top, partial=partial, id=id)
        counts: deque[int] = deque()
        answered: list[pb.PredictResponse] = []
        async with (
            closing(self._requests(tables, counts, asked)) as requests,
            closing(self._replies(requests)) as replies,
        ):
            async for reply in replies:
                answered.append(reply)
                if len(answered) == counts[0]:
                    counts.popleft()
                    yield prediction_frame(answered)
                    answered = []

    async def _requests(
        self, tables: Source[Rows], counts: deque[int], asked: pb.PredictRequest
    ) -> Stream[pb.PredictStreamRequest]:
        """The requests of all tables, each as `asked`; `counts` gets how many each table takes."""
        async for table in each(tables):
            parts = list(request_tables(table, partial=asked.partial))
            # Without an id the parts of one table could be answered by different versions of a shared alias.
            part_id = asked.id or str(uuid4())
            counts.append(len(parts))
            for part in parts:
                request = filled(
                    pb.PredictRequest, name=asked.name, **part, top=asked.top, partial=asked.partial, id=part_id
                )
                yield pb.PredictStreamRequest(request=request)

    async def _replies(self, requests: AsyncIterator[pb.PredictStreamRequest]) -> Stream[pb.PredictResponse]:
        window = _Window(requests)
        await window.fill()
        stream = self._service.attached(lambda metadata: self._stub.PredictStream(window.reopened(), metadata=metadata))
        async with closing(stream):
            async for reply in stream:
                window.answered()
                yield reply.response
                await window.fill()
        if not window.is_finished:
            raise FlareError(
                grpc.StatusCode.DATA_LOSS, "", "the service ended the stream before it had answered: predict again"
            )


class _Window:
    """The requests of a stream that have no reply yet, at most a few."""

    def __init__(self, requests: AsyncIterator[pb.PredictStreamRequest]) -> None:
        self._requests = requests
        self._waiting: deque[pb.PredictStreamRequest] = deque()
        self._is_exhausted = False
        self._outbox: Outbox[pb.PredictStreamRequest] = Outbox()

    @property
    def is_finished(self) -> bool:
        """True when every request has its reply."""
        return self._is_exhausted and not self._waiting

    def reopened(self) -> Outbox[pb.PredictStreamRequest]:
        """What a new stream sends: first everything without a reply."""
        self._outbox.close()
        self._outbox = Outbox()
        for request in self._waiting:
            self._outbox.put(request)
        if self._is_exhausted:
            self._outbox.close()
        return self._outbox

    def answered(self) -> None:
        """The oldest request has its reply."""
        self._waiting.popleft()

    async def fill(self) -> None:
        """Takes requests until enough are on their way, or there are no more."""
        while not self._is_exhausted and len(self._waiting) < REQUESTS_IN_FLIGHT:
            try:
                request = await anext(self._requests)
            except StopAsyncIteration:
                self._is_exhausted = True
                self._outbox.close()
            else:
                self._waiting.append(request)
                self._outbox.put(request)
