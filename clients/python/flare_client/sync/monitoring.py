# Made from flare_client/aio/monitoring.py by tools/make_sync_client.py: edit that, then run this.
"""`flare.monitoring`: what versions do beside answering."""

from __future__ import annotations

from flare.ml.v1 import monitoring_pb2, monitoring_service_pb2_grpc
from flare.ml.v1 import monitoring_service_pb2 as pb

from flare_client.names import Reference, alias_name, version_name
from flare_client.sync.service import Service


class Monitoring:
    """Watches versions. Each server counts for itself."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = monitoring_service_pb2_grpc.MonitoringServiceStub(service.channel)

    def drift(self, version: Reference) -> monitoring_pb2.VersionDrift:
        """How far the rows that a version predicted for are from those of its training: `iris@prod`, or `iris`."""
        request = pb.GetVersionDriftRequest(name=version_name(version))
        return self._service.call(self._stub.GetVersionDrift, request, safe=True)

    def reset_drift(self, version: Reference) -> monitoring_pb2.VersionDrift:
        """Counts anew from now on, and returns the drift of the rows counted until now."""
        request = pb.ResetVersionDriftRequest(name=version_name(version))
        return self._service.call(self._stub.ResetVersionDrift, request, safe=False)

    def shadow(self, alias: Reference) -> monitoring_pb2.AliasShadow:
        """What came of asking the shadow of an alias, `iris@prod`."""
        request = pb.GetAliasShadowRequest(name=alias_name(alias))
        return self._service.call(self._stub.GetAliasShadow, request, safe=True)

    def reset_shadow(self, alias: Reference) -> monitoring_pb2.AliasShadow:
        """Counts anew from now on, and returns what was counted until now."""
        request = pb.ResetAliasShadowRequest(name=alias_name(alias))
        return self._service.call(self._stub.ResetAliasShadow, request, safe=False)
