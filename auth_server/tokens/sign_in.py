"""Tokens for those who prove who they are."""

from auth_server.accounts.accounts import Accounts
from auth_server.accounts.service_identities import ServiceIdentities
from auth_server.accounts.values import ACCOUNT_PREFIX
from auth_server.tokens.access_tokens import AccessTokens
from auth_server.tokens.logins import Logins, refresh_token_rejected
from auth_server.tokens.values import AccessToken, TokenPair


class SignIn:
    """Exchanges passwords, refresh tokens and secrets for tokens."""

    def __init__(
        self, accounts: Accounts, identities: ServiceIdentities, access_tokens: AccessTokens, logins: Logins
    ) -> None:
        self._accounts = accounts
        self._identities = identities
        self._access_tokens = access_tokens
        self._logins = logins

    async def with_password(self, account_id: str, password: str, peer: str) -> TokenPair:
        """Logs an account in.

        Raises:
            Unauthenticated: CREDENTIALS_REJECTED.
            ResourceExhausted: TOO_MANY_ATTEMPTS with the seconds to wait.
        """
        account = await self._accounts.check_login(account_id, password, peer)
        refresh = await self._logins.open(account.name)
        return TokenPair(self._access_tokens.issue(account.name, account.scopes), refresh)

    async def with_refresh_token(self, token: str) -> TokenPair:
        """Renews a login, with the scopes that the account has now.

        Raises:
            Unauthenticated: REFRESH_TOKEN_REJECTED, also if the account is disabled or gone.
        """
        subject, refresh = await self._logins.renew(token)
        account = await self._accounts.find_enabled(subject.removeprefix(ACCOUNT_PREFIX))
        if account is None:
            await self._logins.end_all(subject)
            raise refresh_token_rejected()
        return TokenPair(self._access_tokens.issue(account.name, account.scopes), refresh)

    async def with_secret(self, identity_id: str, secret: str) -> AccessToken:
        """Issues a service identity's access token.

        Raises:
            Unauthenticated: CREDENTIALS_REJECTED.
        """
        identity = await self._identities.check_secret(identity_id, secret)
        return self._access_tokens.issue(identity.name, identity.scopes)

    async def end(self, refresh_token: str) -> None:
        """Ends the login of a refresh token."""
        await self._logins.end(refresh_token)
