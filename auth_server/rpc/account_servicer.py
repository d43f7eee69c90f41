"""`flare.auth.v1.AccountService`."""

from flare.auth.v1 import account_pb2
from flare.auth.v1 import account_service_pb2 as pb
from flare.auth.v1 import account_service_pb2_grpc as rpc
from google.protobuf.empty_pb2 import Empty

from auth_server.accounts.accounts import Accounts
from auth_server.accounts.service_identities import ServiceIdentities
from auth_server.rpc import converters
from auth_server.tokens.key_ring import KeyRing
from servicekit import pages
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context

ACCOUNTS = "accounts"
SERVICE_IDENTITIES = "serviceIdentities"


class AccountServicer(rpc.AccountServiceServicer):
    """Keeps the accounts, the service identities and the signing keys."""

    def __init__(self, accounts: Accounts, identities: ServiceIdentities, keys: KeyRing) -> None:
        self._accounts = accounts
        self._identities = identities
        self._keys = keys

    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> account_pb2.Account:
        return converters.account_message(await self._accounts.get(converters.account_id(request.name)))

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:
        size = pages.page_size(request.page_size)
        after = pages.decode_token(ACCOUNTS, request.page_token) or ""
        found = await self._accounts.list(after, size + 1)
        return pb.ListAccountsResponse(
            accounts=[converters.account_message(account) for account in found[:size]],
            next_page_token=pages.encode_token(ACCOUNTS, found[size - 1].account_id) if len(found) > size else "",
        )

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Context) -> account_pb2.Account:
        account = await self._accounts.create(
            request.account_id, request.account.display_name, request.account.scopes, request.password
        )
        return converters.account_message(account)

    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: Context) -> account_pb2.Account:
        change = converters.account_change(request)
        account = await self._accounts.change(converters.account_id(request.account.name), change)
        return converters.account_message(account)

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, context: Context) -> Empty:
        await self._accounts.delete(converters.account_id(request.name))
        return Empty()

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> Empty:
        account_id = converters.caller_account_id(current_caller())
        peer = converters.peer_host(context.peer())
        await self._accounts.change_password(account_id, request.current_password, request.new_password, peer)
        return Empty()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Context) -> Empty:
        await self._accounts.reset_password(converters.account_id(request.name), request.new_password)
        return Empty()

    async def ListServiceIdentities(
        self, request: pb.ListServiceIdentitiesRequest, context: Context
    ) -> pb.ListServiceIdentitiesResponse:
        size = pages.page_size(request.page_size)
        after = pages.decode_token(SERVICE_IDENTITIES, request.page_token) or ""
        found = await self._identities.list(after, size + 1)
        last = found[size - 1].identity_id if len(found) > size else None
        return pb.ListServiceIdentitiesResponse(
            service_identities=[converters.service_identity_message(identity) for identity in found[:size]],
            next_page_token=pages.encode_token(SERVICE_IDENTITIES, last) if last else "",
        )

    async def CreateServiceIdentity(
        self, request: pb.CreateServiceIdentityRequest, context: Context
    ) -> account_pb2.ServiceIdentity:
        identity, secret = await self._identities.create(
            request.service_identity_id, request.service_identity.display_name, request.service_identity.scopes
        )
        return converters.service_identity_message(identity, secret)

    async def RotateServiceIdentitySecret(
        self, request: pb.RotateServiceIdentitySecretRequest, context: Context
    ) -> account_pb2.ServiceIdentity:
        identity, secret = await self._identities.rotate_secret(converters.service_identity_id(request.name))
        return converters.service_identity_message(identity, secret)

    async def DeleteServiceIdentity(self, request: pb.DeleteServiceIdentityRequest, context: Context) -> Empty:
        await self._identities.delete(converters.service_identity_id(request.name))
        return Empty()

    async def RotateSigningKey(
        self, request: pb.RotateSigningKeyRequest, context: Context
    ) -> pb.RotateSigningKeyResponse:
        return pb.RotateSigningKeyResponse(kid=await self._keys.rotate())
