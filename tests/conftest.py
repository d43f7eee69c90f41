"""What tests share: tokens of an issuer of our own, and the three services as `flare up` starts them."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Small networks on two processors: more threads only wait for each other. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from servicekit.key_sets import StaticKeySet, VerificationKey
from servicekit.tokens import TokenVerifier

ISSUER = "https://issuer.test"
AUDIENCE = "flare"
ALL_SCOPES = (
    "auth.read auth.admin datasets.read datasets.write models.read models.write training.read training.write "
    "predictions.read"
)
START_SECONDS = 60


class TokenIssuer:
    """Signs tokens the way any OpenID provider would, and verifies them the way a service does."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        keys = StaticKeySet([VerificationKey("test-key", "EdDSA", self.key.public_key())])
        self.verifier = TokenVerifier(ISSUER, AUDIENCE, keys, leeway_seconds=0)

    def token(self, subject: str = "accounts/ann", scope: str = ALL_SCOPES, seconds: float = 600) -> str:
        """A token that ends `seconds` from now."""
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now - timedelta(hours=1),
            "exp": (now + timedelta(seconds=seconds)).timestamp(),
            "jti": secrets.token_hex(8),
            "scope": scope,
        }
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": "test-key"})

    def metadata(
        self, subject: str = "accounts/ann", scope: str = ALL_SCOPES, seconds: float = 600
    ) -> tuple[tuple[str, str], ...]:
        """A call's metadata with such a token."""
        return (("authorization", f"Bearer {self.token(subject, scope, seconds)}"),)


@pytest.fixture(scope="session")
def token_issuer() -> TokenIssuer:
    """An issuer for tests of single services."""
    return TokenIssuer()


@dataclass
class FlareServices:
    """The three services, started by `flare up`."""

    data_dir: Path
    auth_address: str
    scraper_address: str
    ml_address: str
    username: str
    password: str
    process: subprocess.Popen[str]

    def environment(self) -> dict[str, str]:
        """The variables by which every client finds and enters these services."""
        return {
            **os.environ,
            "FLARE_AUTH_ADDRESS": self.auth_address,
            "FLARE_SCRAPER_ADDRESS": self.scraper_address,
            "FLARE_ML_ADDRESS": self.ml_address,
            "FLARE_USERNAME": self.username,
            "FLARE_PASSWORD": self.password,
        }


def start_services(data_dir: Path, *arguments: str) -> FlareServices:
    """Runs `flare up` on free loopback ports and waits until it says that all three are healthy."""
    command = [sys.executable, "-m", "flare_client.cli.main", "up", "--data-dir", str(data_dir), "-o", "json"]
    if not arguments:
        arguments = (
            *("--auth-address", "127.0.0.1:0"),
            *("--scraper-address", "127.0.0.1:0"),
            *("--ml-address", "127.0.0.1:0"),
        )
    log = (data_dir.parent / f"{data_dir.name}-up.log").open("w")
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    began = time.monotonic()
    for line in process.stdout:
        started = json.loads(line)
        if started.get("state") == "healthy":
            return FlareServices(
                data_dir=data_dir,
                auth_address=started["auth_address"],
                scraper_address=started["scraper_address"],
                ml_address=started["ml_address"],
                username="admin",
                password=(data_dir / "admin-password").read_text().strip(),
                process=process,
            )
        if time.monotonic() - began > START_SECONDS:
            break
    process.kill()
    raise AssertionError(f"`flare up` did not become healthy; its log:\n{Path(log.name).read_text()}")


def stop_services(services: FlareServices) -> int:
    """Ends `flare up` as Ctrl-C does and returns its exit status."""
    services.process.send_signal(signal.SIGINT)
    return services.process.wait(60)


@pytest.fixture(scope="session")
def flare_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareServices]:
    """Services that all end-to-end tests share; each test takes names of its own."""
    services = start_services(tmp_path_factory.mktemp("flare") / "data")
    yield services
    stop_services(services)
