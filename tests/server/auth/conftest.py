"""A real authorization server on free ports, and how to read its refusals."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from argon2 import PasswordHasher
from flare.auth.v1 import account_service_pb2_grpc, auth_service_pb2, auth_service_pb2_grpc, token_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from auth_server.composition import AuthService
from auth_server.settings import ServiceSetting, Settings

ISSUER = "http://issuer.test:50054"
# As in service, with the cheapest hash that argon2 allows.
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

Metadata = tuple[tuple[str, str], ...]


@dataclass
class AuthServer:
    """A started server and its stubs."""

    service: AuthService
    directory: Path
    address: str
    channel: grpc.aio.Channel
    http_url: str
    auth: "auth_service_pb2_grpc.AuthServiceAsyncStub" = field(init=False)
    accounts: "account_service_pb2_grpc.AccountServiceAsyncStub" = field(init=False)

    def __post_init__(self) -> None:
        self.auth = auth_service_pb2_grpc.AuthServiceStub(self.channel)
        self.accounts = account_service_pb2_grpc.AccountServiceStub(self.channel)

    @property
    def admin_password(self) -> str:
        return (self.directory / "admin-password").read_text()

    @property
    def ml_secret(self) -> str:
        return (self.directory / "ml-secret").read_text()

    async def login(self, username: str = "admin", password: str = "") -> token_pb2.TokenPair:
        request = auth_service_pb2.LoginRequest(username=username, password=password or self.admin_password)
        return await self.auth.Login(request)

    async def bearer(self, username: str = "admin", password: str = "") -> Metadata:
        return bearer((await self.login(username, password)).access_token)


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def settings(directory: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "listen_address": "127.0.0.1:0",
        "http_address": "127.0.0.1:0",
        "data_directory": directory,
        "token_issuer": ISSUER,
        "bootstrap_services": (
            ServiceSetting(name="ml", secret_file=directory / "ml-secret", scopes=("datasets.read", "auth.delegate")),
        ),
        "drain_seconds": 1,
    }
    return Settings(**{**values, **changes})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[AuthServer]:
    service = AuthService(settings(tmp_path), CHEAP_HASHER, CollectorRegistry())
    await service.prepare()
    port = await service.rpc.start()
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address) as channel:
        yield AuthServer(service, tmp_path, address, channel, f"http://127.0.0.1:{service.http.port}")
    await service.rpc.drain()
    await service.close()


@dataclass(frozen=True)
class Refusal:
    """An error as its caller sees it."""

    code: grpc.StatusCode
    reason: str
    text: str
    fields: tuple[str, ...]
    retry_seconds: float | None
    resource: str | None


async def refusal(call: Awaitable[Any]) -> Refusal:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # it has what is read of a Call
    assert status is not None, caught.value
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, resource = error_details_pb2.RetryInfo(), error_details_pb2.ResourceInfo()
    found = {
        message.DESCRIPTOR.name
        for detail in status.details
        for message in (info, bad_request, retry, resource)
        if detail.Unpack(message)
    }
    assert info.domain == "flare"
    return Refusal(
        caught.value.code(),
        info.reason,
        status.message,
        tuple(violation.field for violation in bad_request.field_violations),
        retry.retry_delay.ToNanoseconds() / 1e9 if "RetryInfo" in found else None,
        resource.resource_name if "ResourceInfo" in found else None,
    )
