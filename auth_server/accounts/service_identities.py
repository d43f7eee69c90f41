"""The rules of service identities: programs with a secret."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import structlog

from auth_server.accounts.scopes import known_scopes
from auth_server.accounts.store import ServiceIdentityStore
from auth_server.accounts.values import SERVICE_IDENTITY_ID, SERVICE_IDENTITY_PREFIX, ServiceIdentity
from servicekit.errors import AlreadyExists, NotFound, Reason, Unauthenticated

log = structlog.get_logger()

SECRET_BYTES = 32


def new_secret() -> str:
    """A random secret of 256 bits. It can't be guessed, so its plain SHA-256 is safe to keep."""
    return secrets.token_urlsafe(SECRET_BYTES)


class ServiceIdentities:
    """All service identities."""

    def __init__(self, store: ServiceIdentityStore, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now

    async def create(self, identity_id: str, display_name: str, scopes: Collection[str]) -> tuple[ServiceIdentity, str]:
        """Makes an identity and returns it with its secret.

        Raises:
            InvalidArgument: A scope is not known.
            AlreadyExists: NAME_TAKEN.
        """
        granted = known_scopes(scopes, "service_identity.scopes")
        secret = new_secret()
        identity = ServiceIdentity(identity_id, display_name, granted, _hash(secret), self._now())
        if not await self._store.add(identity):
            raise AlreadyExists(
                Reason.NAME_TAKEN,
                f"there is a service identity '{identity.name}' already: take another service_identity_id",
                resource=identity.name,
            )
        log.info("service_identity_created", service_identity=identity.name, scopes=sorted(granted))
        return identity, secret

    async def ensure(self, identity_id: str, display_name: str, scopes: Collection[str], secret: str) -> None:
        """Makes an identity with this secret, or gives the one there is these scopes and this secret.

        Raises:
            InvalidArgument: A scope is not known.
        """
        granted = known_scopes(scopes, "scopes")
        await self._store.put(ServiceIdentity(identity_id, display_name, granted, _hash(secret), self._now()))

    async def list(self, after: str, limit: int) -> list[ServiceIdentity]:
        """At most `limit` identities with an id above `after`, by id."""
        return await self._store.list(after, limit)

    async def rotate_secret(self, identity_id: str) -> tuple[ServiceIdentity, str]:
        """Replaces an identity's secret and returns it with the new one.

        Raises:
            NotFound: There is none.
        """
        secret = new_secret()
        if not await self._store.set_secret(identity_id, _hash(secret)):
            raise _not_found(identity_id)
        identity = await self._store.get(identity_id)
        if identity is None:  # deleted in between
            raise _not_found(identity_id)
        log.info("service_identity_secret_rotated", service_identity=identity.name)
        return identity, secret

    async def delete(self, identity_id: str) -> None:
        """Deletes an identity.

        Raises:
            NotFound: There is none.
        """
        if not await self._store.remove(identity_id):
            raise _not_found(identity_id)
        log.info("service_identity_deleted", service_identity=SERVICE_IDENTITY_PREFIX + identity_id)

    async def check_secret(self, identity_id: str, secret: str) -> ServiceIdentity:
        """Returns the identity that this secret belongs to.

        Raises:
            Unauthenticated: CREDENTIALS_REJECTED.
        """
        identity = await self._store.get(identity_id) if SERVICE_IDENTITY_ID.fullmatch(identity_id) else None
        if identity is None or not hmac.compare_digest(identity.secret_hash, _hash(secret)):
            log.warning("service_identity_rejected", service_identity=SERVICE_IDENTITY_PREFIX + identity_id)
            raise Unauthenticated(
                Reason.CREDENTIALS_REJECTED,
                "no service identity has this id and secret: check both, or have the secret rotated",
            )
        return identity


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _not_found(identity_id: str) -> NotFound:
    name = SERVICE_IDENTITY_PREFIX + identity_id
    return NotFound(Reason.NOT_FOUND, f"there is no service identity '{name}'", resource=name)
