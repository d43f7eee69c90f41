# Made from flare_client/aio/login.py by tools/make_sync_client.py: edit that, then run this.
"""The calls of the auth service that need no token, and the token source that settings ask for."""

from __future__ import annotations

from flare.auth.v1 import auth_service_pb2 as pb
from flare.auth.v1 import auth_service_pb2_grpc

from flare_client.connection_settings import ConnectionSettings
from flare_client.profile import ProfileStore, Tokens
from flare_client.sync.service import Service
from flare_client.sync.tokens import AccountTokens, GivenToken, NoTokens, StoredTokens, TokenSource


class AuthIssuer:
    """Logs in and refreshes at the auth service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = auth_service_pb2_grpc.AuthServiceStub(service.channel)

    def login(self, username: str, password: str) -> Tokens:
        """Tokens for a password. Raises FlareError, such as CREDENTIALS_REJECTED."""
        request = pb.LoginRequest(username=username, password=password)
        return Tokens.of(self._service.call(self._stub.Login, request, safe=True))

    def refresh(self, refresh_token: str) -> Tokens:
        """The next tokens. Raises FlareError, such as REFRESH_TOKEN_REJECTED."""
        request = pb.RefreshTokensRequest(refresh_token=refresh_token)
        # A repeat would present a used token, which revokes the whole login.
        return Tokens.of(self._service.call(self._stub.RefreshTokens, request, safe=False))

    def logout(self, refresh_token: str) -> None:
        """Ends a login."""
        self._service.call(self._stub.Logout, pb.LogoutRequest(refresh_token=refresh_token), safe=True)


def token_source(settings: ConnectionSettings, issuer: AuthIssuer, store: ProfileStore) -> TokenSource:
    """Who calls, by the settings."""
    credentials = settings.credentials
    if credentials.token:
        return GivenToken(credentials.token)
    if credentials.username:
        return AccountTokens(issuer, credentials.username, credentials.password)
    if settings.profile is not None:
        return StoredTokens(issuer, store, settings.profile.tokens)
    return NoTokens()
