"""The server's TLS: certificates from files, read again when they change."""

from pathlib import Path

import grpc

from servicekit.settings import ServerSettings


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Credentials of the settings' files, None if there are none (plain text)."""
    certificate, key, authorities = (
        settings.tls_certificate_file,
        settings.tls_key_file,
        settings.tls_client_ca_file,
    )
    if certificate is None or key is None:
        return None

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=authorities.read_bytes() if authorities else None,
        )

    files = [path for path in (certificate, key, authorities) if path is not None]
    known = _stamps(files)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Called at each handshake; None keeps the certificates in use."""
        nonlocal known
        stamps = _stamps(files)
        if stamps == known:
            return None
        known = stamps
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        changed,  # type: ignore[arg-type]  # the stubs don't know None, which keeps what is there
        require_client_authentication=authorities is not None,
    )


def _stamps(files: list[Path]) -> list[tuple[int, int]]:
    return [(stat.st_mtime_ns, stat.st_size) for stat in (path.stat() for path in files)]
