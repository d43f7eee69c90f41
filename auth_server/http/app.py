"""What an OpenID provider answers over HTTP: discovery, keys, and tokens for services."""

import base64
from dataclasses import asdict
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

from auth_server.accounts.scopes import ALL_SCOPES
from auth_server.accounts.values import SERVICE_IDENTITY_PREFIX
from auth_server.tokens.key_ring import KeyRing
from auth_server.tokens.sign_in import SignIn
from auth_server.tokens.signing_keys import ALGORITHM
from servicekit.errors import Unauthenticated

JWKS_PATH = "/.well-known/jwks.json"
TOKEN_PATH = "/oauth2/token"  # noqa: S105  # a path, no password
FORM = "application/x-www-form-urlencoded"
REQUEST_LIMIT_BYTES = 16_384
# Verifiers fetch again at once when they meet an unknown key, so this only spares fetches.
KEYS_MAX_AGE_SECONDS = 300
NOT_STORED = {"Cache-Control": "no-store"}


class IssuerHttp:
    """The HTTP side of the token issuer."""

    def __init__(self, issuer: str, sign_in: SignIn, keys: KeyRing) -> None:
        self._issuer = issuer
        self._sign_in = sign_in
        self._keys = keys

    def app(self) -> web.Application:
        """A new aiohttp application with the routes."""
        app = web.Application(client_max_size=REQUEST_LIMIT_BYTES)
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get(JWKS_PATH, self._key_set)
        app.router.add_post(TOKEN_PATH, self._token)
        return app

    async def _configuration(self, request: web.Request) -> web.Response:
        """OpenID Connect Discovery 1.0, as far as it applies: there is no authorization endpoint here."""
        base = self._issuer.rstrip("/")
        document = {
            "issuer": self._issuer,
            "jwks_uri": base + JWKS_PATH,
            "token_endpoint": base + TOKEN_PATH,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": list(ALL_SCOPES),
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }
        return web.json_response(document, headers=_cached())

    async def _key_set(self, request: web.Request) -> web.Response:
        keys = [asdict(key.public) for key in self._keys.published()]
        return web.json_response({"keys": keys}, headers=_cached())

    async def _token(self, request: web.Request) -> web.Response:
        """The client credentials grant (RFC 6749, 4.4)."""
        if request.content_type != FORM:
            return _refusal(400, "invalid_request", f"send the parameters as {FORM}")
        form = dict(parse_qsl((await request.read()).decode(errors="replace")))
        if form.get("grant_type") != "client_credentials":
            return _refusal(400, "unsupported_grant_type", "grant_type must be client_credentials; people use Login")
        credentials = _credentials(request.headers.get("Authorization", ""), form)
        if credentials is None:
            return _refusal(401, "invalid_client", "send client_id and client_secret, by HTTP Basic or in the form")
        try:
            token = await self._sign_in.with_secret(*credentials)
        except Unauthenticated as error:
            return _refusal(401, "invalid_client", error.message)
        answer = {
            "access_token": token.value,
            "token_type": "Bearer",
            "expires_in": token.lifetime_seconds,
            "scope": " ".join(sorted(token.scopes)),
        }
        return web.json_response(answer, headers=NOT_STORED)


def _credentials(header: str, form: dict[str, str]) -> tuple[str, str] | None:
    """Client id, with or without `serviceIdentities/`, and secret."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except ValueError:  # no base64, or no text inside
            return None
        client_id, _, secret = text.partition(":")
        client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not client_id or not secret:
        return None
    return client_id.removeprefix(SERVICE_IDENTITY_PREFIX), secret


def _refusal(status: int, error: str, description: str) -> web.Response:
    headers = dict(NOT_STORED)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="flare"'
    return web.json_response({"error": error, "error_description": description}, status=status, headers=headers)


def _cached() -> dict[str, str]:
    return {"Cache-Control": f"public, max-age={KEYS_MAX_AGE_SECONDS}"}
