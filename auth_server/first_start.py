"""What must be there before anyone can log in: `admin`, and the identities of the other services."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from auth_server.accounts.accounts import Accounts
from auth_server.accounts.scopes import ADMINISTRATOR_SCOPES
from auth_server.accounts.service_identities import ServiceIdentities, new_secret
from servicekit.errors import AlreadyExists
from servicekit.secret_files import kept_secret

log = structlog.get_logger()

ADMINISTRATOR = "admin"
PASSWORD_BYTES = 18
SHORTEST_SECRET = 32


class BadSecretFileError(ValueError):
    """A service's secret file holds something that could be guessed."""


@dataclass(frozen=True)
class BootstrapService:
    """A service identity that is kept with these scopes and the secret in this file."""

    identity_id: str
    secret_file: Path
    scopes: tuple[str, ...]


async def ensure_administrator(accounts: Accounts, password_file: Path) -> None:
    """Makes `admin` if there is no account at all, with the password in the file, or a random one left there.

    Raises:
        InvalidArgument: The file holds a weak password.
    """
    if await accounts.exist():
        return
    # The file comes first: after a crash in between, the next start takes the password from it.
    password = kept_secret(password_file, lambda: secrets.token_urlsafe(PASSWORD_BYTES))
    try:
        await accounts.create(ADMINISTRATOR, "Administrator", ADMINISTRATOR_SCOPES, password)
    except AlreadyExists:
        return  # another server on the same database was faster, with a file of its own
    log.info("administrator_made", account=ADMINISTRATOR, password_file=str(password_file))


async def ensure_services(identities: ServiceIdentities, services: Sequence[BootstrapService]) -> None:
    """Makes each service identity, or gives it the scopes of the settings and the secret in its file.

    Raises:
        InvalidArgument: A scope is not known.
        BadSecretFileError: A file holds less than 32 characters.
    """
    for service in services:
        secret = kept_secret(service.secret_file, new_secret)
        if len(secret) < SHORTEST_SECRET:
            raise BadSecretFileError(
                f"the secret of service '{service.identity_id}' in {service.secret_file} has {len(secret)} characters: "
                f"put at least {SHORTEST_SECRET} random ones there, or delete the file to have it made"
            )
        await identities.ensure(service.identity_id, service.identity_id, service.scopes, secret)
