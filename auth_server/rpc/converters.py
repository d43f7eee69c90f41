"""Between the domain's values and the contract's messages."""

from datetime import datetime
from urllib.parse import unquote

from flare.auth.v1 import account_pb2, account_service_pb2, auth_service_pb2, token_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from auth_server.accounts.accounts import AccountChange
from auth_server.accounts.values import ACCOUNT_ID, ACCOUNT_PREFIX, SERVICE_IDENTITY_PREFIX, Account, ServiceIdentity
from auth_server.tokens.signing_keys import PublicKey
from auth_server.tokens.values import AccessToken, TokenPair
from servicekit.errors import InvalidArgument, PermissionDenied, Reason
from servicekit.identity import Caller

CHANGEABLE_FIELDS = ("display_name", "scopes", "disabled")


def account_id(name: str) -> str:
    """The user name in `accounts/{account}`.

    Raises:
        InvalidArgument: The name has another form.
    """
    found = name.removeprefix(ACCOUNT_PREFIX)
    if found == name or not ACCOUNT_ID.fullmatch(found):
        raise InvalidArgument(
            Reason.INVALID_FIELD, f"account.name '{name[:80]}' is not of the form accounts/ann", field="account.name"
        )
    return found


def service_identity_id(name: str) -> str:
    """The id in `serviceIdentities/{service_identity}`, whose form the contract's rules have checked."""
    return name.removeprefix(SERVICE_IDENTITY_PREFIX)


def caller_account_id(caller: Caller) -> str:
    """The user name of a caller that is an account of this service.

    Raises:
        PermissionDenied: It is a service identity, or somebody known to another issuer.
    """
    if not caller.subject.startswith(ACCOUNT_PREFIX):
        raise PermissionDenied(
            Reason.SCOPE_MISSING, f"'{caller.subject}' has no password to change: only accounts have one"
        )
    return caller.subject.removeprefix(ACCOUNT_PREFIX)


def peer_host(peer: str) -> str:
    """The address in gRPC's `ipv4:10.1.2.3:456`, `ipv6:%5B::1%5D:456` or `unix:path`, without the port."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else peer


def account_change(request: account_service_pb2.UpdateAccountRequest) -> AccountChange:
    """The fields that the mask names; an empty mask names all that can change.

    Raises:
        InvalidArgument: The mask names another field.
    """
    paths = list(request.update_mask.paths) or CHANGEABLE_FIELDS
    unknown = [path for path in paths if path not in CHANGEABLE_FIELDS]
    if unknown:
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            f"update_mask names '{unknown[0]}'; what can change is {', '.join(CHANGEABLE_FIELDS)}",
            field="update_mask",
        )
    account = request.account
    return AccountChange(
        display_name=account.display_name if "display_name" in paths else None,
        scopes=list(account.scopes) if "scopes" in paths else None,
        disabled=account.disabled if "disabled" in paths else None,
        etag=account.etag,
    )


def account_message(account: Account) -> account_pb2.Account:
    """The account as callers see it, without its password hash."""
    return account_pb2.Account(
        name=account.name,
        display_name=account.display_name,
        scopes=sorted(account.scopes),
        disabled=account.disabled,
        create_time=_timestamp(account.create_time),
        update_time=_timestamp(account.update_time),
        etag=account.etag,
    )


def service_identity_message(identity: ServiceIdentity, secret: str = "") -> account_pb2.ServiceIdentity:
    """The identity as callers see it, with its secret where that was just made."""
    return account_pb2.ServiceIdentity(
        name=identity.name,
        display_name=identity.display_name,
        scopes=sorted(identity.scopes),
        create_time=_timestamp(identity.create_time),
        secret=secret,
    )


def token_pair_message(pair: TokenPair) -> token_pb2.TokenPair:
    """Both tokens."""
    message = access_token_message(pair.access)
    if pair.refresh is not None:
        message.refresh_token = pair.refresh.value
        message.refresh_expire_time.CopyFrom(_timestamp(pair.refresh.expire_time))
    return message


def access_token_message(token: AccessToken) -> token_pb2.TokenPair:
    """An access token alone."""
    return token_pb2.TokenPair(
        access_token=token.value,
        access_expire_time=_timestamp(token.expire_time),
        scopes=sorted(token.scopes),
        subject=token.subject,
    )


def key_message(key: PublicKey) -> token_pb2.JsonWebKey:
    """A public key."""
    return token_pb2.JsonWebKey(kid=key.kid, kty=key.kty, crv=key.crv, x=key.x, alg=key.alg, use=key.use)


def caller_message(caller: Caller) -> auth_service_pb2.GetCallerResponse:
    """Who calls."""
    return auth_service_pb2.GetCallerResponse(subject=caller.subject, scopes=sorted(caller.scopes))


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
