"""The folder that holds everything the services of one machine keep."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from flare_client.services.addresses import Addresses
from flare_client.services.failures import StartRefused


class DataDirectory:
    """Paths in a data folder. The services own `auth/`, `scraper/` and `ml/` in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def admin_password_file(self) -> Path:
        """Holds the password of the account `admin`; the auth service writes it at its first start."""
        return self.path / "admin-password"

    @property
    def ml_secret_file(self) -> Path:
        """Holds the secret by which the ML service identifies itself."""
        return self.path / "ml-service-secret"

    @property
    def credentials_keys_file(self) -> Path:
        """Holds what encrypts people's own Kaggle credentials; the scraper service writes it at its first start."""
        return self.path / "credentials-keys"

    def addresses(self) -> Addresses | None:
        """Where the services listened last; None if they never did. The tokens that they issued name one of these."""
        try:
            return Addresses(**json.loads(self._addresses_file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def log_file(self, service: str) -> Path:
        """What the service writes to its standard output and error."""
        return self.path / "logs" / f"{service}.log"

    def state_of(self, service: str) -> Path:
        """The folder of one service."""
        return self.path / service

    def prepare(self, addresses: Addresses) -> None:
        """Makes the folders and the ML service's secret, where they are missing, and notes the addresses."""
        for folder in (self.path, self.path / "logs", *(self.state_of(s) for s in ("auth", "scraper", "ml"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.ml_secret_file.exists():
            write_private(self.ml_secret_file, secrets.token_urlsafe(32) + "\n")

        self._addresses_file.write_text(json.dumps(asdict(addresses), indent=2) + "\n")

    @property
    def _addresses_file(self) -> Path:
        return self.path / "addresses.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for one supervisor. Raises StartRefused if another one has it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartRefused(f"the folder {self.path} can't be used ({error.strerror}): choose another") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise StartRefused(
                f"Flare is already up on {self.path} (process {holder}): use it, stop it, or choose another folder"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)  # releases the lock, as the end of the process would


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
