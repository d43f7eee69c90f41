"""Which services to talk to, how, and as whom: from arguments, the environment, or the stored login."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from flare_client.errors import FlareError
from flare_client.profile import Profile

DEFAULT_ADDRESSES = {"auth": "127.0.0.1:50053", "scraper": "127.0.0.1:50052", "ml": "127.0.0.1:50051"}
MESSAGE_LIMIT_BYTES = 16 << 20

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    # A restarted server is found again within seconds, where gRPC alone would wait for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 3000),
)


@dataclass(frozen=True)
class Credentials:
    """Who calls: a token of any issuer, or an account. Neither means the stored login."""

    token: str = ""
    username: str = ""
    password: str = ""


@dataclass(frozen=True)
class ConnectionSettings:
    """What a connection needs to know."""

    addresses: Mapping[str, str]
    credentials: Credentials
    profile: Profile | None
    tls: bool
    ca_certificate: Path | None
    insecure: bool

    def channel_credentials(self, service: str) -> grpc.ChannelCredentials | None:
        """The TLS credentials for the service, None for plain text.

        Raises:
            FlareError: Plain text would leave this machine and was not spelled out.
        """
        if self.tls:
            roots = self.ca_certificate.read_bytes() if self.ca_certificate else None
            return grpc.ssl_channel_credentials(root_certificates=roots)
        address = self.addresses[service]
        if not (self.insecure or is_loopback(address)):
            raise FlareError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "",
                f"{address} is another machine and the connection would be plain text: pass tls=True or "
                "ca_certificate=..., or insecure=True to send tokens and data unprotected",
            )
        return None


def connection_settings(
    *,
    auth: str | None = None,
    scraper: str | None = None,
    ml: str | None = None,
    username: str | None = None,
    password: str | None = None,
    token: str | None = None,
    tls: bool | None = None,
    ca_certificate: str | Path | None = None,
    insecure: bool | None = None,
    profile: Profile | None,
) -> ConnectionSettings:
    """Settles each value: an argument before its environment variable before the stored login before the default.

    Raises:
        FlareError: A user name without password or the reverse.
    """
    credentials = _credentials(username, password, token)
    stored = (
        {"auth": profile.auth_address, "scraper": profile.scraper_address, "ml": profile.ml_address} if profile else {}
    )
    given = {"auth": auth, "scraper": scraper, "ml": ml}
    addresses = {
        service: given[service]
        or os.environ.get(f"FLARE_{service.upper()}_ADDRESS")
        or stored.get(service)
        or DEFAULT_ADDRESSES[service]
        for service in DEFAULT_ADDRESSES
    }
    certificate = (
        ca_certificate or os.environ.get("FLARE_CA_CERTIFICATE") or (profile.ca_certificate if profile else "")
    )
    if tls is None:
        tls = bool(certificate) or bool(profile and profile.tls)
    if insecure is None:
        insecure = bool(profile and profile.insecure)
    return ConnectionSettings(
        addresses, credentials, profile, tls, Path(certificate) if certificate else None, insecure
    )


def is_loopback(address: str) -> bool:
    """True if the address can't leave this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(username: str | None, password: str | None, token: str | None) -> Credentials:
    if token:
        return Credentials(token=token)
    if username or password:
        if not (username and password):
            raise FlareError(
                grpc.StatusCode.UNAUTHENTICATED, "", "a user name and a password belong together: give both, or a token"
            )
        return Credentials(username=username, password=password)
    environment = os.environ
    if environment.get("FLARE_TOKEN"):
        return Credentials(token=environment["FLARE_TOKEN"])
    if environment.get("FLARE_USERNAME") or environment.get("FLARE_PASSWORD"):
        return _credentials(environment.get("FLARE_USERNAME"), environment.get("FLARE_PASSWORD") or "", None)
    return Credentials()
