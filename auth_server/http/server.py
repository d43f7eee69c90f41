"""Serves the issuer's HTTP side beside the gRPC server."""

import ssl

import structlog
from aiohttp import web

from auth_server.http.app import IssuerHttp

log = structlog.get_logger()


class HttpServer:
    """A `Component` of the server: up before it takes calls, down when it drains."""

    def __init__(self, issuer: IssuerHttp, address: str, tls: ssl.SSLContext | None) -> None:
        """`address` is host and port; port 0 takes a free one."""
        self._issuer = issuer
        self._address = address
        self._tls = tls
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that it listens on.

        Raises:
            LookupError: It was not started.
        """
        if self._runner is None:
            raise LookupError("the HTTP server was not started")
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self) -> None:
        """Listens.

        Raises:
            OSError: The address is taken.
        """
        host, port = self._address.rsplit(":", 1)
        runner = web.AppRunner(self._issuer.app(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=self._tls).start()
        except OSError as error:
            await runner.cleanup()
            raise OSError(f"can't listen on {self._address} for HTTP: is another server there?") from error
        self._runner = runner
        log.info("http_server_started", address=self._address, port=self.port)

    async def drain(self) -> None:
        """Ends what is under way and stops."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
