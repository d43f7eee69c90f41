"""EvaluationService on the versions of this server."""

from flare.ml.v1 import evaluation_pb2, evaluation_service_pb2, evaluation_service_pb2_grpc

from ml_server.evaluation.comparer import Comparer
from ml_server.rpc.evaluation_converters import comparison_message, comparison_request
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context


class EvaluationServicer(evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer

    async def CompareModels(
        self, request: evaluation_service_pb2.CompareModelsRequest, context: Context
    ) -> evaluation_pb2.ModelComparison:
        comparison = await self._comparer.compare(current_caller().subject, comparison_request(request))
        return comparison_message(comparison)
