"""PredictionService on the versions of this server."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

from flare.ml.v1 import prediction_service_pb2 as pb
from flare.ml.v1 import prediction_service_pb2_grpc

from ml_server.explanation.explainer import Explainer
from ml_server.prediction.inputs import ColumnInputs, PartialInputs
from ml_server.prediction.message_sizes import require_columns, require_row_errors_fit
from ml_server.prediction.pipeline import Limits, in_order
from ml_server.prediction.predictor import Predictor
from ml_server.registry.values import VersionReference
from ml_server.rpc.column_forms import ColumnReader
from ml_server.rpc.explanation_converters import explanation_message, explanation_request
from ml_server.rpc.prediction_converters import prediction_message
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context

# Of one stream. A few requests keep the network busy while others are read and answers are written.
IN_FLIGHT = Limits(items=8, size_bytes=32 << 20)


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, predictor: Predictor, explainer: Explainer, message_bytes: int) -> None:
        """`message_bytes` is how many a message of this server may have."""
        self._predictor = predictor
        self._explainer = explainer
        self._message_bytes = message_bytes
        self._columns = ColumnReader()

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        return await self._predict(request)

    async def PredictStream(
        self, request_iterator: AsyncIterator[pb.PredictStreamRequest], context: Context
    ) -> AsyncIterator[pb.PredictStreamResponse]:
        async with aclosing(in_order(request_iterator, self._answer, _size, IN_FLIGHT)) as responses:
            async for response in responses:
                yield response

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        owner, reference = current_caller().subject, VersionReference.parse(request.name)
        inputs, asked = ColumnInputs(self._columns(request)), explanation_request(request)
        return explanation_message(await self._explainer.explain(owner, reference, inputs, asked, request.id))

    async def _answer(self, message: pb.PredictStreamRequest) -> pb.PredictStreamResponse:
        return pb.PredictStreamResponse(response=await self._predict(message.request))

    async def _predict(self, request: pb.PredictRequest) -> pb.PredictResponse:
        owner, reference = current_caller().subject, VersionReference.parse(request.name)
        columns = self._columns(request)
        inputs = PartialInputs(columns) if request.partial else ColumnInputs(columns)
        check = partial(require_columns, top=request.top, message_bytes=self._message_bytes)
        prediction = await self._predictor.predict(owner, reference, inputs, request.id, check)
        message, faults = prediction_message(prediction, request.top), len(prediction.faults)
        if faults:
            require_row_errors_fit(message.ByteSize(), prediction.rows, faults, self._message_bytes)
        return message


def _size(message: pb.PredictStreamRequest) -> int:
    return message.ByteSize()
