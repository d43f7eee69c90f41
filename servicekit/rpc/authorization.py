"""Verifies the token of every call and binds its caller before the request is looked at."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from servicekit.errors import PermissionDenied, Reason, Unauthenticated
from servicekit.identity import DELEGATE_SCOPE, SUBJECT_METADATA, Caller, bind_caller, current_caller
from servicekit.rpc.expiry import Expired, Expiries, Expiry
from servicekit.rpc.interceptor import CallInterceptor, Context, received
from servicekit.rpc.interceptor import Method as Unary
from servicekit.rpc.methods import Method

# Methods of gRPC itself that are no part of our contracts: health for probes, reflection for grpcurl.
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


class Verifier(Protocol):
    """Tells who presents a token."""

    def known(self, token: str) -> Caller | None:
        """The caller of a token that was verified before and is still good: without a wait, for most calls."""
        ...

    async def verify(self, token: str) -> Caller:
        """Raises Unauthenticated (TOKEN_INVALID, TOKEN_EXPIRED) if the token is not acceptable."""
        ...


class AuthorizationInterceptor(CallInterceptor):
    """Lets a call pass if its token holds the scope that the contract asks for. Streams end when their token does."""

    def __init__(self, verifier: Verifier, methods: Mapping[str, Method]) -> None:
        self._verifier = verifier
        self._methods = methods
        self._expiries = Expiries()

    def unary(self, method: Unary, name: str) -> Unary:
        """As CallInterceptor says."""
        scope = self._required_scope(name)
        if scope is None:
            return method

        async def call(request: Any, context: Context) -> Any:
            token, subject = _presented(context)
            caller = self._verifier.known(token)
            if caller is None:
                caller = await self._verifier.verify(token)
            caller = _bound(caller, subject, scope, name)
            try:
                return await self._expiries.wait(caller.expire_time, method(request, context))
            except Expired:
                raise _expired(caller) from None

        return call

    async def admit(self, context: Context, method_name: str) -> None:
        """Verifies the token, checks the scope, and binds the caller.

        Raises:
            Unauthenticated: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED.
            PermissionDenied: SCOPE_MISSING.
        """
        scope = self._required_scope(method_name)
        if scope is not None:
            token, subject = _presented(context)
            _bound(await self._verifier.verify(token), subject, scope, method_name)

    async def answered(self, response: Awaitable[Any], context: Context, method_name: str) -> Any:
        """Waits for the answer as long as the token lasts."""
        if self._required_scope(method_name) is None:
            return await response
        caller = current_caller()
        try:
            return await self._expiries.wait(caller.expire_time, response)
        except Expired:
            raise _expired(caller) from None

    async def streamed(self, responses: AsyncIterator[Any], context: Context, method_name: str) -> AsyncIterator[Any]:
        """Passes the answers on as long as the token lasts."""
        is_open = self._required_scope(method_name) is None
        expiry = Expiry(math.inf if is_open else _deadline(current_caller()))
        async with aclosing(responses):  # type: ignore[type-var]  # handlers are async generators
            try:
                while True:
                    # Around each message, not around the stream: the end may strike only where this code waits.
                    try:
                        response = await expiry.wait(anext(responses))
                    except StopAsyncIteration:
                        return
                    except Expired:
                        raise _expired(current_caller()) from None
                    yield response
            finally:
                expiry.close()

    def _required_scope(self, path: str) -> str | None:
        """The scope of a method, None if anyone may call it. Unknown methods never get here: gRPC answers them."""
        method = self._methods.get(path)
        if method is None and path.startswith(OPEN_SERVICES):
            return None
        return self._methods[path].required_scope if method is None else method.required_scope


def _presented(context: Context) -> tuple[str, str]:
    """The token of a call, and the subject that it is for if not the token's own."""
    header = subject = ""
    for key, value in received(context):
        if key == "authorization" and isinstance(value, str):
            header = value
        elif key == SUBJECT_METADATA and isinstance(value, str):
            subject = value
    return _bearer_token(header), subject


def _bound(caller: Caller, subject: str, scope: str, method_name: str) -> Caller:
    """Who the call is for, bound as the current caller."""
    if scope not in caller.scopes:
        raise _lacks(caller, scope, f"call {method_name.rsplit('/', 1)[1]}")
    if subject:
        if DELEGATE_SCOPE not in caller.scopes:
            raise _lacks(caller, DELEGATE_SCOPE, f"act for '{subject}'")
        caller = replace(caller, subject=subject)
    bind_caller(caller)
    return caller


def require_scope(scope: str, action: str) -> None:
    """Raises PermissionDenied (SCOPE_MISSING) if the caller's token lacks a scope that an action needs too."""
    caller = current_caller()
    if scope not in caller.scopes:
        raise _lacks(caller, scope, action)


def _bearer_token(header: str) -> str:
    if header.startswith("Bearer ey"):  # as nearly all clients write it
        return header[7:].strip()
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            Reason.TOKEN_MISSING,
            "the call has no token: log in and send the metadata 'authorization: Bearer <access token>'",
        )
    return token.strip()


def _lacks(caller: Caller, scope: str, action: str) -> PermissionDenied:
    return PermissionDenied(
        Reason.SCOPE_MISSING,
        f"to {action} a token needs the scope '{scope}'; this one has {', '.join(sorted(caller.scopes)) or 'none'}",
        scope=scope,
    )


def _deadline(caller: Caller) -> float:
    """The end of the caller's token on the clock of the event loop."""
    return asyncio.get_running_loop().time() + caller.expire_time.timestamp() - time.time()


def _expired(caller: Caller) -> Unauthenticated:
    return Unauthenticated(
        Reason.TOKEN_EXPIRED,
        f"the token ended at {caller.expire_time:%Y-%m-%d %H:%M:%S} UTC: refresh it and call again",
    )
