"""Puts the service together."""

from datetime import timedelta
from functools import partial

from argon2 import PasswordHasher
from flare.auth.v1 import account_service_pb2, account_service_pb2_grpc, auth_service_pb2, auth_service_pb2_grpc
from prometheus_client import REGISTRY, CollectorRegistry

from auth_server.accounts.accounts import Accounts
from auth_server.accounts.passwords import Passwords
from auth_server.accounts.service_identities import ServiceIdentities
from auth_server.accounts.sql import SqlAccountStore, SqlServiceIdentityStore
from auth_server.accounts.throttle import LoginThrottle
from auth_server.first_start import BootstrapService, ensure_administrator, ensure_services
from auth_server.housekeeping import Housekeeping
from auth_server.http.app import IssuerHttp
from auth_server.http.server import HttpServer
from auth_server.http.tls import HttpTls
from auth_server.rpc.account_servicer import AccountServicer
from auth_server.rpc.auth_servicer import AuthServicer
from auth_server.settings import Settings
from auth_server.tokens.access_tokens import AccessTokens
from auth_server.tokens.key_ring import KeyRing
from auth_server.tokens.logins import Logins
from auth_server.tokens.sign_in import SignIn
from auth_server.tokens.signing_keys import KeySealer
from auth_server.tokens.sql import SqlLoginStore, SqlSigningKeyStore
from servicekit.database import Database
from servicekit.readiness import Readiness
from servicekit.secret_files import kept_secret
from servicekit.server import Registration, RpcServer
from servicekit.tokens import TokenVerifier

# A replaced key outlives its last token by this much: clocks differ, and other servers sign with it a little longer.
KEY_OVERLAP_MARGIN = timedelta(minutes=5)


class AuthService:
    """The whole service: `prepare`, then run `rpc`, then `close`."""

    def __init__(
        self, settings: Settings, hasher: PasswordHasher | None = None, registry: CollectorRegistry = REGISTRY
    ) -> None:
        """Makes the key file if there is none; opens nothing else yet.

        Raises:
            KeyFileError: The key file does not hold a key.
            OSError: A file of the settings can't be read.
        """
        self._settings = settings
        settings.data_directory.mkdir(parents=True, exist_ok=True)
        self._database = Database(settings.database("auth"))
        self._passwords = Passwords(hasher)
        access_lifetime = timedelta(seconds=settings.access_token_seconds)
        self.keys = KeyRing(
            SqlSigningKeyStore(self._database),
            KeySealer(kept_secret(settings.key_path, KeySealer.new_key)),
            overlap=access_lifetime + KEY_OVERLAP_MARGIN,
            longest_use=timedelta(days=settings.signing_key_days),
        )
        logins = Logins(
            SqlLoginStore(self._database),
            idle_lifetime=timedelta(days=settings.refresh_idle_days),
            lifetime=timedelta(days=settings.refresh_days),
        )
        self.accounts = Accounts(SqlAccountStore(self._database), self._passwords, LoginThrottle(), logins.end_all)
        self.identities = ServiceIdentities(SqlServiceIdentityStore(self._database))
        issuer = settings.token_issuer
        access_tokens = AccessTokens(self.keys, issuer, settings.token_audience, access_lifetime)
        sign_in = SignIn(self.accounts, self.identities, access_tokens, logins)
        chores = [self.keys.refresh, logins.forget_ended]
        tls = None
        if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
            tls = HttpTls(settings.tls_certificate_file, settings.tls_key_file)
            chores.append(tls.refresh)
        self.http = HttpServer(
            IssuerHttp(issuer, sign_in, self.keys), settings.http_address, tls.context if tls else None
        )
        verifier = TokenVerifier(issuer, settings.token_audience, self.keys)
        self.rpc = RpcServer(
            settings,
            _registrations(
                AuthServicer(sign_in, self.keys), AccountServicer(self.accounts, self.identities, self.keys)
            ),
            verifier,
            components=[verifier, self.http, Housekeeping(chores)],
            registry=registry,
            readiness=Readiness(self._database),
        )

    async def prepare(self) -> None:
        """Brings the database up to date, and makes what the first login needs.

        Raises:
            KeyFileError: The key file is not the one that belongs to this database.
            BadSecretFileError, InvalidArgument: A file or a setting has a value that can't be used.
        """
        await self._database.migrate("auth_server:migrations")
        await self.keys.refresh()
        await ensure_administrator(self.accounts, self._settings.admin_password_path)
        services = [
            BootstrapService(service.name, service.secret_file, service.scopes)
            for service in self._settings.bootstrap_services
        ]
        await ensure_services(self.identities, services)

    async def close(self) -> None:
        """Closes the database; called after the server has drained."""
        self._passwords.close()
        await self._database.close()


def _registrations(auth: AuthServicer, accounts: AccountServicer) -> list[Registration]:
    return [
        Registration(
            auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
            partial(auth_service_pb2_grpc.add_AuthServiceServicer_to_server, auth),
        ),
        Registration(
            account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
            partial(account_service_pb2_grpc.add_AccountServiceServicer_to_server, accounts),
        ),
    ]
