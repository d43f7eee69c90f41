"""Where the services listen, and whether they can."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Self

from flare_client.connection_settings import DEFAULT_ADDRESSES
from flare_client.services.failures import StartRefused

DEFAULT_AUTH_ADDRESS = DEFAULT_ADDRESSES["auth"]
DEFAULT_SCRAPER_ADDRESS = DEFAULT_ADDRESSES["scraper"]
DEFAULT_ML_ADDRESS = DEFAULT_ADDRESSES["ml"]
DEFAULT_AUTH_HTTP_ADDRESS = "127.0.0.1:50054"


@dataclass(frozen=True)
class Addresses:
    """`host:port` of each service."""

    auth: str = DEFAULT_AUTH_ADDRESS
    scraper: str = DEFAULT_SCRAPER_ADDRESS
    ml: str = DEFAULT_ML_ADDRESS
    auth_http: str = ""
    """Where the auth service publishes the keys that the others verify tokens with. Empty: where it did before."""

    def by_service(self) -> dict[str, str]:
        """The gRPC address of each service, by its name."""
        return {"auth": self.auth, "scraper": self.scraper, "ml": self.ml}

    def resolved(self) -> Self:
        """The same with a free port wherever the port is 0."""
        free = iter(free_addresses(4))
        chosen = {name: next(free) if address == "127.0.0.1:0" else address for name, address in asdict(self).items()}
        return replace(self, **chosen)

    def check(self) -> None:
        """Raises StartRefused if an address is taken, or can't be listened on."""
        for option, address in (*self.by_service().items(), ("auth-http", self.auth_http)):
            _check_address(option, address)


def free_addresses(count: int) -> list[str]:
    """Loopback addresses that nothing listens on at this moment."""
    with ExitStack() as sockets:
        probes = [sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]


def is_free(address: str) -> bool:
    """True if nothing listens on the address at this moment."""
    try:
        _check_address("", address)
    except StartRefused:
        return False
    return True


def _check_address(option: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise StartRefused(f"--{option}-address {address!r} is not HOST:PORT with a port from 1 to 65535")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            probe.bind(target)
    except OSError as error:
        raise StartRefused(
            f"can't listen on {address} ({error.strerror}): end the program that does, or choose another with "
            f"--{option}-address"
        ) from error
