"""Starts the services, waits until they are healthy, and takes them down together."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from flare_client.services.addresses import DEFAULT_AUTH_HTTP_ADDRESS, Addresses, free_addresses, is_free
from flare_client.services.child import Child
from flare_client.services.data_directory import DataDirectory
from flare_client.services.environment import environments
from flare_client.services.failures import ServiceEnded, ServicesError

START_SECONDS = 180.0  # the first start imports everything on a cold disk
POLL_SECONDS = 0.1


class Supervisor:
    """The services of one data folder, running until the block ends.

    Entering raises StartRefused, with nothing started, if the folder is in use or a port is taken.
    """

    def __init__(
        self,
        data_directory: Path,
        addresses: Addresses,
        *,
        drain_seconds: float = 30.0,
        log_to_terminal: bool = False,
    ) -> None:
        self.data = DataDirectory(data_directory)
        self.addresses = addresses
        self._drain_seconds = drain_seconds
        self._log_to_terminal = log_to_terminal
        self._children: list[Child] = []
        self._resources = ExitStack()
        self._stop_asked = threading.Event()
        self._kill_asked = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            resources.enter_context(self.data.locked())
            self.addresses = replace(self.addresses, auth_http=self._http_address()).resolved()
            self.addresses.check()
            self.data.prepare(self.addresses)
            resources.callback(self._take_down)
            for service, environment in environments(self.data, self.addresses, self._drain_seconds).items():
                log_file = self.data.log_file(service)
                self._children.append(Child(service, environment, log_file, log_to_terminal=self._log_to_terminal))
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def stop_on_signals(self) -> None:
        """Lets SIGINT and SIGTERM end the waiting below: the first drains the services, another one kills them."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def wait_until_healthy(self, on_healthy: Callable[[str], None]) -> bool:
        """Waits until every service answers SERVING, naming each as it does. False if a signal came first.

        Raises:
            ServiceEnded: One of them ended; the message names its log.
            ServicesError: They did not all become healthy in time.
        """
        deadline = time.monotonic() + START_SECONDS
        waiting = dict(self.addresses.by_service())
        while waiting:
            for service, address in list(waiting.items()):
                if is_serving(address):
                    del waiting[service]
                    on_healthy(service)
            self._raise_if_one_ended()
            if waiting and time.monotonic() > deadline:
                raise ServicesError(
                    f"{' and '.join(waiting)} not healthy after {START_SECONDS:.0f} s: "
                    f"see {self.data.log_file(next(iter(waiting)))}"
                )
            if self._stop_asked.wait(POLL_SECONDS if waiting else 0):
                return False
        return True

    def wait_for_stop(self) -> None:
        """Waits for a signal. Raises ServiceEnded if a service ends before."""
        while not self._stop_asked.wait(POLL_SECONDS):
            self._raise_if_one_ended()

    def _http_address(self) -> str:
        if self.addresses.auth_http:
            return self.addresses.auth_http
        before = self.data.addresses()
        if before is not None:
            return before.auth_http
        return DEFAULT_AUTH_HTTP_ADDRESS if is_free(DEFAULT_AUTH_HTTP_ADDRESS) else free_addresses(1)[0]

    def _raise_if_one_ended(self) -> None:
        for child in self._children:
            if child.exit_status is not None and not self._stop_asked.is_set():
                raise ServiceEnded(child.describe_end())

    def _take_down(self) -> None:
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + self._drain_seconds + 5.0
        for child in self._children:
            while not self._has_ended(child):
                if self._kill_asked.is_set() or time.monotonic() > deadline:
                    child.kill()

    def _has_ended(self, child: Child) -> bool:
        try:
            return child.wait(POLL_SECONDS)
        except KeyboardInterrupt:  # where Ctrl-C has its usual meaning
            self._kill_asked.set()
            return False

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stop_asked.is_set():
            self._kill_asked.set()
        self._stop_asked.set()


def is_serving(address: str) -> bool:
    """True if the server at the address says that it is healthy."""
    from grpc_health.v1 import health_pb2  # comes with the servers, not with the bare client

    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
