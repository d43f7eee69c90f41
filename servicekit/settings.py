"""The settings that every service has. Each adds its own and its prefix: `FLARE_ML_LISTEN_ADDRESS`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class ServerSettings(BaseSettings):
    """Read once at the start; a wrong value stops the start with its name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    listen_address: str
    """Host and port of the gRPC server; port 0 takes a free one."""
    data_directory: Path = Path("flare-data")
    """Where the service keeps what has no address of its own."""
    database_url: str = ""
    """SQLAlchemy's address of the database; a SQLite file in the data directory if empty."""
    artifacts_url: str = ""
    """Where large files lie; a folder in the data directory if empty."""
    token_issuer: str = "http://127.0.0.1:50054"
    """The `iss` that tokens must have."""
    token_audience: str = "flare"
    """The `aud` that tokens must have."""
    jwks_url: str = "http://127.0.0.1:50054/.well-known/jwks.json"
    """Where the issuer publishes the keys that tokens are verified with."""
    drain_seconds: PositiveFloat = 10.0
    """How long the server may take to end after SIGTERM; calls that then still run are cancelled."""
    lame_duck_seconds: NonNegativeFloat = 1.0
    """How long of that, up to half, it takes new calls while its health is NOT_SERVING: time for balancers to look."""
    metrics_address: str = ""
    """Host and port of Prometheus metrics over HTTP; none if empty."""
    log_format: Literal["json", "console"] = "json"
    """JSON lines for machines, or coloured lines for a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important entries to be written."""
    allow_plaintext: bool = False
    """True to serve without TLS on an address that other machines can reach, such as behind a proxy that has TLS."""
    tls_certificate_file: Path | None = None
    """The server's certificate chain, PEM. Read again when it changes."""
    tls_key_file: Path | None = None
    """The certificate's private key, PEM."""
    tls_client_ca_file: Path | None = None
    """If set, only clients with a certificate of these authorities get in (mTLS)."""
    max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=1024 * 1024)
    """The largest message in either direction."""

    @model_validator(mode="after")
    def _check(self) -> "ServerSettings":
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file belong together: set both or neither")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file needs tls_certificate_file and tls_key_file")
        host = self.listen_address.rsplit(":", 1)[0]
        if self.tls_certificate_file is None and not self.allow_plaintext and host not in LOOPBACK_HOSTS:
            raise ValueError(
                f"listen_address '{self.listen_address}' can be reached from other machines and there is no TLS: set "
                "tls_certificate_file and tls_key_file, or allow_plaintext=true if something in front has TLS"
            )
        return self

    def database(self, service: str) -> str:
        """The address of the database of a service."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_directory.absolute() / service}.db"

    def artifacts(self, service: str) -> str:
        """The address of the artifacts of a service."""
        return self.artifacts_url or str(self.data_directory.absolute() / service)
