"""The emulator as a running server: the API on one port, the storage on another."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.kaggle_emulator.answers import send
from tests.kaggle_emulator.api import ApiError, DatasetApi, Redirect
from tests.kaggle_emulator.catalogue import Catalogue
from tests.kaggle_emulator.faults import Fault, FaultPlan, RequestKind
from tests.kaggle_emulator.storage import Storage, ref_in

DATASETS, OAUTH = "/v1/datasets.DatasetApiService", "/v1/security.OAuthService"
KINDS = {
    f"{OAUTH if kind is RequestKind.INTROSPECT else DATASETS}/{kind.value}": kind
    for kind in RequestKind
    if kind not in (RequestKind.STORAGE, RequestKind.OTHER)
}


@dataclass(frozen=True)
class RecordedRequest:
    """A request that arrived."""

    kind: RequestKind
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    ref: str = ""
    """The data set that it is about."""

    @property
    def credentials(self) -> str:
        """What it was authorized with: `account:key`, an access token, or nothing."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return b64decode(value).decode() if scheme == "Basic" else value


class KaggleEmulator:
    """Serves a catalogue on 127.0.0.1. `async with KaggleEmulator(catalogue) as kaggle: ... kaggle.endpoint`."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        keys: Mapping[str, str] | None = None,
        tokens: Mapping[str, str] | None = None,
        allow_anonymous: bool = True,
        port: int = 0,
    ) -> None:
        """`keys`: account to API key. `tokens`: access token to account. Other credentials get 401."""
        self.allow_anonymous = allow_anonymous
        self.api_version = "2.2.4"
        self.requests: list[RecordedRequest] = []
        self.endpoint = ""
        self.catalogue = catalogue
        self.accounts = dict(keys or {})
        self.tokens = dict(tokens or {})
        self._faults = FaultPlan()
        self._released = asyncio.Event()
        self._arrival = asyncio.Condition()
        self.storage = Storage(self._record_storage, self._released)
        self._api = DatasetApi(catalogue, self.storage)
        self._port = port
        self._storage_endpoint = ""
        self._runners: list[web.AppRunner] = []

    def inject(self, kind: RequestKind, fault: Fault, times: int | None = 1, ref: str = "") -> None:
        """Spoils the next `times` requests of this kind (None: all), of any data set or of the one named."""
        self._faults.add(kind, fault, times, ref)

    def count(self, kind: RequestKind | None = None, ref: str = "") -> int:
        """How many requests arrived, of one kind or of all, for any data set or for one."""
        return sum(kind in (None, request.kind) and ref in ("", request.ref) for request in self.requests)

    async def arrived(self, kind: RequestKind, ref: str = "", count: int = 1) -> None:
        """Waits until so many requests of this kind have arrived since the start."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: self.count(kind, ref) >= count)

    async def start(self) -> None:
        """Listens from now on."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self.endpoint = await self._listen(application, self._port)
        self._storage_endpoint = await self._listen(self.storage.application(), 0)

    async def stop(self) -> None:
        """Ends every connection, stalled ones too."""
        self._released.set()
        for runner in self._runners:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _listen(self, application: web.Application, port: int) -> str:
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        kind = KINDS.get(request.path, RequestKind.OTHER) if request.method == "POST" else RequestKind.OTHER
        body = await request.json() if request.can_read_body else {}
        ref = f"{body.get('ownerSlug', '')}/{body.get('datasetSlug', '')}" if "datasetSlug" in body else ""
        await self._record(RecordedRequest(kind, request.path, dict(request.headers), body, ref))
        fault = self._faults.take(kind, ref)
        try:
            answer = self._api.answer(kind, body, self._account(request))
        except ApiError as error:
            fault = fault if fault != Fault() else Fault(error.status, body=_error_body(error))
            answer = {}
        if isinstance(answer, Redirect):
            if fault == Fault():
                raise web.HTTPFound(f"{self._storage_endpoint}{answer.path_and_query}")
            answer = {}
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Kaggle-ApiVersion": self.api_version}
        return await send(request, json.dumps(answer).encode(), fault, self._released, headers=headers)

    def _account(self, request: web.Request) -> str | None:
        """Who asks. Raises ApiError."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if not scheme and self.allow_anonymous:
            return None
        if scheme == "Bearer" and value in self.tokens:
            return self.tokens[value]
        if scheme == "Basic":
            account, _, key = b64decode(value).decode().partition(":")
            if key and self.accounts.get(account) == key:
                return account
        raise ApiError(401, "Unauthenticated")

    async def _record(self, request: RecordedRequest) -> None:
        async with self._arrival:
            self.requests.append(request)
            self._arrival.notify_all()

    async def _record_storage(self, kind: RequestKind, request: web.Request) -> Fault:
        ref = ref_in(request.match_info["path"])
        await self._record(RecordedRequest(kind, request.path, dict(request.headers), {}, ref))
        return self._faults.take(kind, ref)


def _error_body(error: ApiError) -> bytes:
    return json.dumps({"code": error.status, "message": str(error)}).encode()
