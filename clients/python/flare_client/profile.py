"""The login that `flare login` keeps for later commands and programs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import grpc
from flare.auth.v1 import token_pb2

from flare_client.errors import FlareError

LONGEST_MARGIN_SECONDS = 30.0


@dataclass(frozen=True)
class Tokens:
    """What AuthService gave. Times are in seconds since 1970."""

    access_token: str
    access_expire_time: float
    receive_time: float
    refresh_token: str = ""
    subject: str = ""

    @classmethod
    def of(cls, pair: token_pb2.TokenPair) -> Self:
        """The tokens of an answer that came now."""
        return cls(
            access_token=pair.access_token,
            access_expire_time=pair.access_expire_time.ToNanoseconds() / 1e9,
            receive_time=time.time(),
            refresh_token=pair.refresh_token,
            subject=pair.subject,
        )

    def ends_soon(self) -> bool:
        """True in the last 30 seconds of the access token, or the last fifth of a shorter life."""
        life = self.access_expire_time - self.receive_time
        return time.time() > self.access_expire_time - min(LONGEST_MARGIN_SECONDS, life / 5)


@dataclass(frozen=True)
class Profile:
    """Where the services are, and the newest tokens for them."""

    auth_address: str
    scraper_address: str
    ml_address: str
    tokens: Tokens
    tls: bool = False
    ca_certificate: str = ""
    insecure: bool = False


class ProfileStore:
    """A profile in a file that only its owner can read."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` is where `flare login` keeps it unless given: `credentials.json` in `$FLARE_CONFIG_DIR`, else in
        `$XDG_CONFIG_HOME/flare`, else in `~/.config/flare`."""
        self.path = path or _default_path()

    def load(self) -> Profile | None:
        """The profile, None if nobody logged in.

        Raises:
            FlareError: The file is there and can't be read.
        """
        try:
            fields = json.loads(self.path.read_text())
            return Profile(**{**fields, "tokens": Tokens(**fields["tokens"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise FlareError(
                grpc.StatusCode.UNAUTHENTICATED,
                "",
                f"the stored login {self.path} can't be read ({error}): log in again with `flare login`",
            ) from error

    def save(self, profile: Profile) -> None:
        """Replaces the profile, whole or not at all."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(asdict(profile), file, indent=2)
            staging.replace(self.path)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise

    def save_tokens(self, tokens: Tokens) -> None:
        """Replaces the tokens of the profile."""
        profile = self.load()
        if profile is not None:
            self.save(replace(profile, tokens=tokens))

    @contextlib.contextmanager
    def try_lock(self) -> Iterator[bool]:
        """True while no other process holds the profile: a refresh token works once, so one at a time uses it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(descriptor)


def _default_path() -> Path:
    folder = os.environ.get("FLARE_CONFIG_DIR")
    if folder:
        return Path(folder).expanduser() / "credentials.json"
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "flare" / "credentials.json"
