"""Starts a gRPC server with health, reflection and the interceptors, and drains it on SIGTERM."""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from servicekit.readiness import Readiness
from servicekit.rpc.authorization import AuthorizationInterceptor, Verifier
from servicekit.rpc.codecs import Codec, CodecInterceptor
from servicekit.rpc.composition import InterceptedServices
from servicekit.rpc.gate import Gate
from servicekit.rpc.methods import Scopes, method_table
from servicekit.rpc.observation import ObservationInterceptor
from servicekit.rpc.validation import ValidationInterceptor
from servicekit.settings import ServerSettings
from servicekit.tls import server_credentials

log = structlog.get_logger()

KEEPALIVE_MILLISECONDS = 30_000
MIN_PING_INTERVAL_MILLISECONDS = 10_000
# Longer than calls are on their way.
SHUT_SECONDS = 0.1


@dataclass(frozen=True)
class Registration:
    """A servicer and how it gets into a server."""

    service: ServiceDescriptor
    add: Callable[[Any], None]
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    """By the method's name; the generated code does the others."""
    scopes: Scopes | None = None
    """For a contract of others, which can't say it itself: the scope of each method."""


class Component(Protocol):
    """Something that lives as long as the server: a job runner, a verifier, a database."""

    async def start(self) -> None:
        """Called in order before the server takes calls."""
        ...

    async def drain(self) -> None:
        """Called in reverse order when the server takes no more calls, while those under way may still finish."""
        ...


class RpcServer:
    """One gRPC server; `start`, then `drain`."""

    def __init__(
        self,
        settings: ServerSettings,
        registrations: Sequence[Registration],
        verifier: Verifier,
        components: Sequence[Component] = (),
        registry: CollectorRegistry = REGISTRY,
        readiness: Readiness | None = None,
        *,
        shares_port: bool = False,
    ) -> None:
        """Opens nothing yet. With `readiness` health says NOT_SERVING as long as the server can't do its work.

        With `shares_port` other processes may listen on the same port: each connection goes to one of them.

        Raises:
            UnmarkedMethodError: A method's contract does not say who may call it.
        """
        self._settings = settings
        self._registrations = registrations
        self._components = components
        self._readiness = readiness
        self._shares_port = shares_port
        self._services = [registration.service for registration in registrations]
        foreign = {each.service.full_name: each.scopes for each in registrations if each.scopes is not None}
        self._validation = ValidationInterceptor(self._services)
        codecs = {
            f"/{registration.service.full_name}/{method}": codec
            for registration in registrations
            for method, codec in registration.codecs.items()
        }
        # The order is part of the design: errors of everything inside become statuses, and nothing of a request is
        # looked at before its caller is known.
        self._gate = Gate()
        self._interceptors = [
            ObservationInterceptor(registry),
            self._gate,
            AuthorizationInterceptor(verifier, method_table(self._services, foreign)),
            self._validation,
            CodecInterceptor(codecs),
        ]
        self._health = HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Starts the components and the server, and returns its port. Health turns SERVING last."""
        self._validation.warm_up()
        for component in self._components:
            await component.start()
        if self._readiness is not None:
            await self._readiness.start()
        server = grpc.aio.server(options=self._options())
        services: Any = InterceptedServices()
        for registration in self._registrations:
            registration.add(services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        names = [service.full_name for service in self._services]
        names += [health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflected = reflection.aio.ReflectionServicer(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, services)  # type: ignore[no-untyped-call]
        await services.intercept(self._interceptors)
        server.add_generic_rpc_handlers([services])
        port = self._listen(server)
        await server.start()
        self._server = server
        await self._tell(is_ready=True)
        if self._readiness is not None:
            self._watching = asyncio.create_task(self._watch(self._readiness))
        log.info("server_started", address=self._settings.listen_address, port=port)
        return port

    async def drain(self) -> None:
        """Turns health to NOT_SERVING, takes calls a little longer, stops the components, and lets calls end."""
        if self._server is None:
            return
        drain_seconds = self._settings.drain_seconds
        lame_duck_seconds = min(self._settings.lame_duck_seconds, drain_seconds / 2)
        log.info("server_draining", seconds=drain_seconds)
        if self._watching is not None:
            self._watching.cancel()
        if self._readiness is not None:
            await self._readiness.drain()
        await self._health.enter_graceful_shutdown()
        shut_seconds = min(SHUT_SECONDS, lame_duck_seconds)
        await asyncio.sleep(lame_duck_seconds - shut_seconds)
        with self._gate.shut():
            await asyncio.sleep(shut_seconds)
            stopping = asyncio.create_task(self._server.stop(drain_seconds - lame_duck_seconds))
            await asyncio.sleep(0)  # its first step tells the clients, and is to come before the answers to them
        for component in reversed(self._components):
            await component.drain()
        await stopping
        log.info("server_stopped")

    async def _watch(self, readiness: Readiness) -> None:
        was_ready = True
        while True:
            await asyncio.sleep(readiness.check_seconds)
            is_ready = await readiness.check()
            if is_ready != was_ready:
                log.warning("readiness_changed", is_ready=is_ready)
                await self._tell(is_ready)
                was_ready = is_ready

    async def _tell(self, is_ready: bool) -> None:
        answers = health_pb2.HealthCheckResponse
        for name in ["", *(service.full_name for service in self._services)]:
            await self._health.set(name, answers.SERVING if is_ready else answers.NOT_SERVING)

    def _listen(self, server: grpc.aio.Server) -> int:
        address = self._settings.listen_address
        credentials = server_credentials(self._settings)
        try:
            if credentials is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"can't listen on {address}: is another server there?") from error

    def _options(self) -> list[tuple[str, Any]]:
        return [
            ("grpc.max_receive_message_length", self._settings.max_message_bytes),
            ("grpc.max_send_message_length", self._settings.max_message_bytes),
            # At 1 two servers that know nothing of each other would share a port silently.
            ("grpc.so_reuseport", int(self._shares_port)),
            ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
            # Clients may ping idle streams this often; the default of 5 minutes ends their connections.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_MILLISECONDS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]


class Server(Protocol):
    """What serves on a port: an RpcServer, or several processes with one each."""

    async def start(self) -> int:
        """Begins to take calls, and returns the port."""
        ...

    async def drain(self) -> None:
        """Lets calls under way end, and stops."""
        ...


async def serve_until_signal(server: Server, settings: ServerSettings) -> None:
    """Starts a server, waits for SIGTERM or Ctrl-C, and drains it. A second signal ends the wait for the drain."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    if settings.metrics_address:
        host, port = settings.metrics_address.rsplit(":", 1)
        start_http_server(int(port), host)
    await server.start()
    # Every call waits while a collection goes through all objects, and nearly all of them are here to stay.
    gc.collect()
    gc.freeze()
    await asked.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    await server.drain()
