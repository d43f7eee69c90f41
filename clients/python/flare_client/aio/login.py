"""Logging in: for one connection, or to be stored for later ones."""

from __future__ import annotations

from pathlib import Path

from flare.auth.v1 import auth_service_pb2 as pb
from flare.auth.v1 import auth_service_pb2_grpc

from flare_client.aio.runtime import open_channel
from flare_client.aio.service import Service
from flare_client.aio.tokens import AccountTokens, GivenToken, NoTokens, StoredTokens, TokenSource
from flare_client.connection_settings import CHANNEL_OPTIONS, ConnectionSettings, connection_settings
from flare_client.profile import Profile, ProfileStore, Tokens


class AuthIssuer:
    """Logs in and refreshes at the auth service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = auth_service_pb2_grpc.AuthServiceStub(service.channel)

    async def login(self, username: str, password: str) -> Tokens:
        """Tokens for a password. Raises FlareError, such as CREDENTIALS_REJECTED."""
        request = pb.LoginRequest(username=username, password=password)
        return Tokens.of(await self._service.call(self._stub.Login, request, safe=True))

    async def refresh(self, refresh_token: str) -> Tokens:
        """The next tokens. Raises FlareError, such as REFRESH_TOKEN_REJECTED."""
        request = pb.RefreshTokensRequest(refresh_token=refresh_token)
        # A repeat would present a used token, which revokes the whole login.
        return Tokens.of(await self._service.call(self._stub.RefreshTokens, request, safe=False))


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


async def login(
    username: str,
    password: str,
    *,
    auth: str | None = None,
    scraper: str | None = None,
    ml: str | None = None,
    tls: bool | None = None,
    ca_certificate: str | Path | None = None,
    insecure: bool | None = None,
) -> Profile:
    """Logs in and stores the tokens with the addresses, as `flare login` does: later connections need no arguments.

    The password itself is not stored.

    Raises:
        FlareError: The auth service refused or does not answer.
        OSError: The login can't be stored.
    """
    settings = connection_settings(
        auth=auth,
        scraper=scraper,
        ml=ml,
        username=username,
        password=password,
        tls=tls,
        ca_certificate=ca_certificate,
        insecure=insecure,
        profile=None,
    )
    address = settings.addresses["auth"]
    async with open_channel(address, settings.channel_credentials("auth"), CHANNEL_OPTIONS) as channel:
        tokens = await AuthIssuer(Service("auth", address, channel, None)).login(username, password)
    profile = Profile(
        auth_address=address,
        scraper_address=settings.addresses["scraper"],
        ml_address=settings.addresses["ml"],
        tokens=tokens,
        tls=settings.tls,
        ca_certificate=str(settings.ca_certificate.absolute()) if settings.ca_certificate else "",
        insecure=settings.insecure,
    )
    ProfileStore().save(profile)
    return profile
