"""`flare.credentials`: the caller's own accounts at the sources of data sets."""

from __future__ import annotations

from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import scraper_service_pb2_grpc, source_pb2

from flare_client.aio.service import Service
from flare_client.choices import choose

SET_SECONDS = 60.0  # they are tried at the source before the answer


class Credentials:
    """Credentials that the server keeps encrypted, uses for this caller alone, and never returns."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(service.channel)

    async def set_kaggle_key(self, username: str, key: str) -> source_pb2.SourceCredentials:
        """Sets an API key of kaggle.com, in the place of what was set before.

        Raises:
            FlareError: SOURCE_CREDENTIALS_REJECTED by Kaggle; CREDENTIALS_NOT_KEPT, the server has no key to encrypt
                them with.
        """
        api_key = source_pb2.KaggleApiKey(username=username, key=key)
        return await self._set(pb.SetSourceCredentialsRequest(kaggle_api_key=api_key))

    async def set_kaggle_token(self, token: str) -> source_pb2.SourceCredentials:
        """Sets an access token of kaggle.com, in the place of what was set before. Raises as `set_kaggle_key`."""
        return await self._set(pb.SetSourceCredentialsRequest(kaggle_access_token=token))

    async def get(self, source: str = "kaggle") -> source_pb2.SourceCredentials:
        """Whose credentials are set, without the secret. Raises FlareError (NOT_FOUND) if none are."""
        request = pb.GetSourceCredentialsRequest(source=choose("source", source, source_pb2.SourceKind))
        return await self._service.call(self._stub.GetSourceCredentials, request, safe=True)

    async def delete(self, source: str = "kaggle") -> None:
        """Makes the server forget them. Raises FlareError (NOT_FOUND) if none are set."""
        request = pb.DeleteSourceCredentialsRequest(source=choose("source", source, source_pb2.SourceKind))
        await self._service.call(self._stub.DeleteSourceCredentials, request, safe=False)

    async def _set(self, request: pb.SetSourceCredentialsRequest) -> source_pb2.SourceCredentials:
        return await self._service.call(self._stub.SetSourceCredentials, request, safe=True, seconds=SET_SECONDS)
