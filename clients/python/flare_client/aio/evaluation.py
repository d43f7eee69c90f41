"""Versions measured against each other."""

from __future__ import annotations

from flare.ml.v1 import evaluation_pb2, evaluation_service_pb2_grpc
from flare.ml.v1 import evaluation_service_pb2 as pb

from flare_client.aio.service import Service
from flare_client.names import Reference, version_name, view_name

COMPARE_SECONDS = 600.0


class Evaluation:
    """Compares trained versions."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = evaluation_service_pb2_grpc.EvaluationServiceStub(service.channel)

    async def compare(
        self,
        versions: tuple[Reference, ...],
        *,
        view: Reference | None = None,
        confidence: float = 0.0,
        resamples: int = 0,
        seed: int = 0,
        seconds: float = COMPARE_SECONDS,
    ) -> evaluation_pb2.ModelComparison:
        """Measures versions on the test rows of a view; the work ends after so many seconds."""
        request = pb.CompareModelsRequest(
            versions=map(version_name, versions),
            view=view_name(view) if view is not None else "",
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        return await self._service.call(self._stub.CompareModels, request, safe=True, seconds=seconds)
