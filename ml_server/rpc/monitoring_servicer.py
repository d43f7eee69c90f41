"""MonitoringService on the versions of this server."""

from flare.ml.v1 import monitoring_pb2, monitoring_service_pb2_grpc
from flare.ml.v1 import monitoring_service_pb2 as pb

from ml_server.monitoring.drift_watch import DriftWatch
from ml_server.monitoring.shadow import Shadows
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.store import ModelStore, no_such_version
from ml_server.registry.values import Model, ModelVersion, VersionReference
from ml_server.rpc.monitoring_converters import drift_message, shadow_message
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context


class MonitoringServicer(monitoring_service_pb2_grpc.MonitoringServiceServicer):
    """Converts, calls, converts."""

    def __init__(self, store: ModelStore, shadows: Shadows, versions: KnownVersions, drift: DriftWatch) -> None:
        self._store = store
        self._shadows = shadows
        self._versions = versions
        self._drift = drift

    async def GetVersionDrift(
        self, request: pb.GetVersionDriftRequest, context: Context
    ) -> monitoring_pb2.VersionDrift:
        version = await self._version(request.name)
        return drift_message(version, await self._drift.drift(version))

    async def ResetVersionDrift(
        self, request: pb.ResetVersionDriftRequest, context: Context
    ) -> monitoring_pb2.VersionDrift:
        version = await self._version(request.name)
        return drift_message(version, await self._drift.drift(version, reset=True))

    async def GetAliasShadow(self, request: pb.GetAliasShadowRequest, context: Context) -> monitoring_pb2.AliasShadow:
        return shadow_message(self._shadows.find(*await self._alias(request.name)))

    async def ResetAliasShadow(
        self, request: pb.ResetAliasShadowRequest, context: Context
    ) -> monitoring_pb2.AliasShadow:
        return shadow_message(self._shadows.reset(*await self._alias(request.name)))

    async def _version(self, name: str) -> ModelVersion:
        return await self._versions.find(current_caller().subject, VersionReference.parse(name))

    async def _alias(self, name: str) -> tuple[Model, str]:
        reference = VersionReference.parse(name)
        model = await self._store.get(current_caller().subject, reference.model)
        if reference.alias is None or reference.alias not in model.aliases:
            raise no_such_version(name)
        return model, reference.alias
