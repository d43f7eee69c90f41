"""The settings of the authorization service, read from `FLARE_AUTH_*`."""

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from servicekit.settings import LOOPBACK_HOSTS, ServerSettings


class ServiceSetting(BaseModel):
    """A service identity that is there from the start."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,62}$")
    secret_file: Path
    scopes: tuple[str, ...] = Field(min_length=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `name=secret-file=scope1,scope2`.

        Raises:
            ValueError: It has another form.
        """
        name, first, rest = text.strip().partition("=")
        file, second, scopes = rest.rpartition("=")
        if not first or not second or not name or not file:
            raise ValueError(f"'{text.strip()}' is not of the form name=secret-file=scope1,scope2")
        return cls(name=name, secret_file=Path(file), scopes=tuple(scopes.split(",")))


class Settings(ServerSettings):
    """All settings; `token_issuer` and `token_audience` are what this service writes into its tokens."""

    model_config = SettingsConfigDict(env_prefix="FLARE_AUTH_", frozen=True, extra="ignore")

    listen_address: str = "127.0.0.1:50053"
    http_address: str = "127.0.0.1:50054"
    """Host and port of discovery, key set and service tokens over HTTP; with TLS if the gRPC server has it."""
    access_token_seconds: PositiveInt = Field(default=900, le=86_400)
    """How long an access token is valid. It can't be revoked, so keep it short."""
    refresh_idle_days: PositiveInt = 14
    """A login ends when it was not renewed for so long."""
    refresh_days: PositiveInt = 90
    """A login ends after so long in any case."""
    signing_key_days: PositiveInt = 90
    """The signing key is replaced after so long."""
    key_file: Path | None = None
    """Holds the key that encrypts the signing keys in the database; `auth-key` in the data directory if empty. Made at
    the first start, mode 0600. Servers that share a database need the same file."""
    admin_password_file: Path | None = None
    """Has, or gets at the first start, the password of `admin`; `admin-password` in the data directory if empty."""
    bootstrap_services: Annotated[tuple[ServiceSetting, ...], NoDecode] = ()
    """Service identities to keep as they are written here: `name=secret-file=scope1,scope2`, several separated by `;`,
    or a JSON list of such texts. A secret file that is not there is made with a random secret, mode 0600."""

    @field_validator("bootstrap_services", mode="before")
    @classmethod
    def _parse_services(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else filter(str.strip, value.split(";"))
        return tuple(ServiceSetting.parse(entry) if isinstance(entry, str) else entry for entry in value)

    @model_validator(mode="after")
    def _check_http(self) -> Self:
        host, _, port = self.http_address.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"http_address '{self.http_address}' is not HOST:PORT")
        if self.tls_certificate_file is None and not self.allow_plaintext and host not in LOOPBACK_HOSTS:
            raise ValueError(
                f"http_address '{self.http_address}' can be reached from other machines and there is no TLS: set "
                "tls_certificate_file and tls_key_file, or allow_plaintext=true if something in front has TLS"
            )
        return self

    @property
    def key_path(self) -> Path:
        """Where the key file is."""
        return self.key_file or self.data_directory / "auth-key"

    @property
    def admin_password_path(self) -> Path:
        """Where the first password of `admin` is."""
        return self.admin_password_file or self.data_directory / "admin-password"
