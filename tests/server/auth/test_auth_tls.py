"""The HTTP side with TLS: served with the certificate of the settings, also after it was replaced."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry

from auth_server.composition import AuthService
from auth_server.http.tls import HttpTls
from servicekit import probe
from tests.server.auth.conftest import CHEAP_HASHER, settings


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A new self-signed certificate for 127.0.0.1 and its key, in the same two files each time."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "flare.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    files = directory / "tls.crt", directory / "tls.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def keys_over_tls(port: int, certificate: Path) -> int:
    """The number of keys, fetched by a client that trusts this certificate alone."""
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/.well-known/jwks.json", ssl=trust, raise_for_status=True) as response,
    ):
        return len((await response.json())["keys"])


async def test_keys_are_served_with_the_certificate(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    values = settings(tmp_path / "data", tls_certificate_file=certificate, tls_key_file=key)
    service = AuthService(values, CHEAP_HASHER, CollectorRegistry())
    await service.prepare()
    address = f"127.0.0.1:{await service.rpc.start()}"
    assert await asyncio.to_thread(probe.problem, address, certificate, 3.0) is None
    assert await asyncio.to_thread(probe.problem, address, None, 3.0) is not None
    assert await keys_over_tls(service.http.port, certificate) == 1
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{service.http.port}/.well-known/jwks.json")
    await service.rpc.drain()
    await service.close()


async def test_replaced_certificate_is_read_again(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    tls = HttpTls(certificate, key)

    def served() -> bytes:
        """The certificate of a handshake in memory."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        trust = ssl.create_default_context(cafile=str(certificate))
        client = trust.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
        server = tls.context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        found = client.getpeercert(binary_form=True)
        assert found is not None
        return found

    first = served()
    await tls.refresh()
    assert served() == first
    write_certificate(tmp_path)
    with pytest.raises(ssl.SSLError):
        served()  # the client trusts the new one already, the server still shows the old one
    await tls.refresh()
    assert served() != first
