"""PredictionService on the versions of this server."""

from collections.abc import AsyncIterator

from flare.ml.v1 import prediction_service_pb2 as pb
from flare.ml.v1 import prediction_service_pb2_grpc

from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.predictor import Predictor
from ml_server.registry.values import VersionReference
from ml_server.rpc.prediction_converters import prediction_message, raw_columns
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        owner, reference = current_caller().subject, VersionReference.parse(request.name)
        inputs = ColumnInputs(raw_columns(request))
        return prediction_message(await self._predictor.predict(owner, reference, inputs, request.id))

    async def PredictStream(
        self, request_iterator: AsyncIterator[pb.PredictStreamRequest], context: Context
    ) -> AsyncIterator[pb.PredictStreamResponse]:
        # One after another: reply i belongs to request i, and the caller's own pace bounds what waits here.
        async for message in request_iterator:
            yield pb.PredictStreamResponse(response=await self.Predict(message.request, context))
