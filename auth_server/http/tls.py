"""The certificate of the HTTP side, read again when it changes."""

import ssl
from pathlib import Path


class HttpTls:
    """A TLS context of two PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Reads the files.

        Raises:
            OSError: They can't be read, or are no certificate with its key.
        """
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificate = certificate
        self._key = key
        self._known: list[int] = []
        self._load()

    async def refresh(self) -> None:
        """Reads the files again if they changed; handshakes from now on use them."""
        if self._stamps() != self._known:
            self._load()

    def _load(self) -> None:
        stamps = self._stamps()
        self.context.load_cert_chain(self._certificate, self._key)
        self._known = stamps  # only now: files caught half written are tried again

    def _stamps(self) -> list[int]:
        return [self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns]
