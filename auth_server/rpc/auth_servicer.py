"""`flare.auth.v1.AuthService`."""

from flare.auth.v1 import auth_service_pb2 as pb
from flare.auth.v1 import auth_service_pb2_grpc as rpc
from flare.auth.v1 import token_pb2

from auth_server.rpc import converters
from auth_server.tokens.key_ring import KeyRing
from auth_server.tokens.sign_in import SignIn
from servicekit.identity import current_caller
from servicekit.rpc.interceptor import Context


class AuthServicer(rpc.AuthServiceServicer):
    """Issues and renews tokens."""

    def __init__(self, sign_in: SignIn, keys: KeyRing) -> None:
        self._sign_in = sign_in
        self._keys = keys

    async def Login(self, request: pb.LoginRequest, context: Context) -> token_pb2.TokenPair:
        peer = converters.peer_host(context.peer())
        return converters.token_pair_message(
            await self._sign_in.with_password(request.username, request.password, peer)
        )

    async def RefreshTokens(self, request: pb.RefreshTokensRequest, context: Context) -> token_pb2.TokenPair:
        return converters.token_pair_message(await self._sign_in.with_refresh_token(request.refresh_token))

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        await self._sign_in.end(request.refresh_token)
        return pb.LogoutResponse()

    async def IssueServiceToken(self, request: pb.IssueServiceTokenRequest, context: Context) -> token_pb2.TokenPair:
        identity_id = converters.service_identity_id(request.name)
        return converters.access_token_message(await self._sign_in.with_secret(identity_id, request.secret))

    async def GetJsonWebKeySet(
        self, request: pb.GetJsonWebKeySetRequest, context: Context
    ) -> pb.GetJsonWebKeySetResponse:
        keys = [converters.key_message(key.public) for key in self._keys.published()]
        return pb.GetJsonWebKeySetResponse(keys=keys)

    async def GetCaller(self, request: pb.GetCallerRequest, context: Context) -> pb.GetCallerResponse:
        return converters.caller_message(current_caller())
