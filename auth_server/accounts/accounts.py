"""The rules of accounts: who may log in, and how an account changes."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from auth_server.accounts.passwords import Passwords, check_password
from auth_server.accounts.scopes import AUTH_ADMIN, PERSON_SCOPES, known_scopes
from auth_server.accounts.store import AccountStore, LastAdministrator
from auth_server.accounts.throttle import LoginThrottle
from auth_server.accounts.values import ACCOUNT_ID, ACCOUNT_PREFIX, Account
from servicekit.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, Reason, Unauthenticated

log = structlog.get_logger()


@dataclass(frozen=True)
class AccountChange:
    """New values for an account; None leaves one as it is. A set `etag` must be the account's present one."""

    display_name: str | None = None
    scopes: Sequence[str] | None = None
    disabled: bool | None = None
    etag: str = ""


class Accounts:
    """All accounts."""

    def __init__(
        self,
        store: AccountStore,
        passwords: Passwords,
        throttle: LoginThrottle,
        end_logins: Callable[[str], Awaitable[None]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`end_logins` revokes the refresh tokens of an account by its name."""
        self._store = store
        self._passwords = passwords
        self._throttle = throttle
        self._end_logins = end_logins
        self._now = now

    async def create(self, account_id: str, display_name: str, scopes: Collection[str], password: str) -> Account:
        """Makes an account; without scopes it gets those of an ordinary person.

        Raises:
            InvalidArgument: A scope is not known, or the password is weak.
            AlreadyExists: NAME_TAKEN.
        """
        check_password(password, account_id, "password")
        granted = known_scopes(scopes, "account.scopes") or PERSON_SCOPES
        now = self._now()
        account = Account(
            account_id=account_id,
            display_name=display_name,
            scopes=granted,
            disabled=False,
            password_hash=await self._passwords.hash(password),
            revision=1,
            create_time=now,
            update_time=now,
        )
        if not await self._store.add(account):
            raise AlreadyExists(
                Reason.NAME_TAKEN,
                f"there is an account '{account.name}' already: take another account_id",
                resource=account.name,
            )
        log.info("account_created", account=account.name, scopes=sorted(granted))
        return account

    async def get(self, account_id: str) -> Account:
        """Returns an account.

        Raises:
            NotFound: There is none.
        """
        account = await self._store.get(account_id)
        if account is None:
            raise _not_found(account_id)
        return account

    async def list(self, after: str, limit: int) -> list[Account]:
        """At most `limit` accounts with a user name above `after`, by user name."""
        return await self._store.list(after, limit)

    async def exist(self) -> bool:
        """Whether there is any account."""
        return not await self._store.is_empty()

    async def find_enabled(self, account_id: str) -> Account | None:
        """The account, None if there is none or it is disabled."""
        account = await self._store.get(account_id)
        return account if account is not None and not account.disabled else None

    async def change(self, account_id: str, change: AccountChange) -> Account:
        """Changes an account, and ends its logins if it is disabled.

        Raises:
            NotFound: There is none.
            Aborted: ETAG_MISMATCH, somebody changed it since the etag was read, or does so right now.
            InvalidArgument: A scope is not known.
            FailedPrecondition: RESOURCE_IN_USE, nobody would be left to administer accounts.
        """
        scopes = None if change.scopes is None else known_scopes(change.scopes, "account.scopes")
        account = await self.get(account_id)
        if change.etag and change.etag != account.etag:
            raise _changed(account)
        changed = replace(
            account,
            display_name=account.display_name if change.display_name is None else change.display_name,
            scopes=account.scopes if scopes is None else scopes,
            disabled=account.disabled if change.disabled is None else change.disabled,
        )
        kept = await self._replace(account, changed)
        if kept.disabled:
            await self._end_logins(account.name)
        return kept

    async def delete(self, account_id: str) -> None:
        """Deletes an account and ends its logins.

        Raises:
            NotFound: There is none.
            FailedPrecondition: RESOURCE_IN_USE, nobody would be left to administer accounts.
        """
        try:
            if not await self._store.remove(account_id):
                raise _not_found(account_id)
        except LastAdministrator as error:
            raise _last_administrator(account_id) from error
        await self._end_logins(ACCOUNT_PREFIX + account_id)
        log.info("account_deleted", account=ACCOUNT_PREFIX + account_id)

    async def check_login(self, account_id: str, password: str, peer: str) -> Account:
        """Returns the enabled account that this password belongs to.

        A wrong user name, a wrong password and a disabled account take the same time and get the same answer.

        Raises:
            Unauthenticated: CREDENTIALS_REJECTED.
            ResourceExhausted: TOO_MANY_ATTEMPTS with the seconds to wait.
        """
        async with self._throttle.attempt(account_id, peer):
            account = await self._store.get(account_id) if ACCOUNT_ID.fullmatch(account_id) else None
            matches = await self._passwords.matches(password, account.password_hash if account else None)
            if account is None or not matches or account.disabled:
                log.warning("login_rejected", account=ACCOUNT_PREFIX + account_id, peer=peer)
                raise Unauthenticated(
                    Reason.CREDENTIALS_REJECTED,
                    "no enabled account has this user name and password: check both, or ask an administrator",
                )
        if self._passwords.is_outdated(account.password_hash):
            renewed = replace(account, password_hash=await self._passwords.hash(password))
            await self._store.replace(
                renewed, account.revision
            )  # lost to a change at the same time: the next login does
        return account

    async def change_password(self, account_id: str, current: str, new: str, peer: str) -> None:
        """Sets the password of somebody who knows the present one, and ends all logins with it.

        Raises:
            Unauthenticated: CREDENTIALS_REJECTED, the present one is wrong.
            ResourceExhausted: TOO_MANY_ATTEMPTS with the seconds to wait.
            InvalidArgument: The new one is weak.
        """
        check_password(new, account_id, "new_password")
        account = await self.check_login(account_id, current, peer)
        await self._set_password(await self.get(account.account_id), new)

    async def reset_password(self, account_id: str, new: str) -> None:
        """Sets somebody's password, and ends all logins with the one before.

        Raises:
            NotFound: There is no such account.
            InvalidArgument: The new password is weak.
        """
        check_password(new, account_id, "new_password")
        await self._set_password(await self.get(account_id), new)

    async def _set_password(self, account: Account, new: str) -> None:
        await self._replace(account, replace(account, password_hash=await self._passwords.hash(new)))
        await self._end_logins(account.name)
        log.info("password_set", account=account.name)

    async def _replace(self, account: Account, changed: Account) -> Account:
        changed = replace(changed, revision=account.revision + 1, update_time=self._now())
        try:
            if not await self._store.replace(changed, account.revision):
                raise _changed(account)
        except LastAdministrator as error:
            raise _last_administrator(account.account_id) from error
        log.info("account_changed", account=account.name, scopes=sorted(changed.scopes), disabled=changed.disabled)
        return changed


def _not_found(account_id: str) -> NotFound:
    name = ACCOUNT_PREFIX + account_id
    return NotFound(Reason.NOT_FOUND, f"there is no account '{name}'", resource=name)


def _changed(account: Account) -> Aborted:
    return Aborted(
        Reason.ETAG_MISMATCH,
        f"account '{account.name}' was changed by somebody else: read it again and repeat the change",
        resource=account.name,
    )


def _last_administrator(account_id: str) -> FailedPrecondition:
    name = ACCOUNT_PREFIX + account_id
    return FailedPrecondition(
        Reason.RESOURCE_IN_USE,
        f"'{name}' is the only enabled account with the scope {AUTH_ADMIN}: give it to another account first",
        resource=name,
    )
