"""A Ray cluster as the settings name it, and how a process of this machine connects to it."""

import logging
import socket
from dataclasses import dataclass

from servicekit.errors import Reason, Unavailable

CONNECT_SECONDS = 5.0
ANY_ADDRESS = "auto"


@dataclass(frozen=True)
class RayCluster:
    """Where the cluster is, and what each worker of a training takes of it."""

    address: str
    cpus: int = 1
    gpus: int = 0

    def connect(self) -> None:
        """Makes this process a driver of the cluster, until it ends.

        Raises:
            Unavailable: DEPENDENCY_UNAVAILABLE. The extra is missing, or nothing answers, or no node of the cluster is
                on this machine, or its versions are others.
        """
        try:
            import ray
        except ImportError as error:
            raise self._unavailable(f"the extra is not installed: pip install 'flare[ray]' ({error})") from error
        self.knock()
        try:
            ray.init(self.address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray has no class of its own for what may be wrong here
            raise self._unavailable(str(error)) from error

    def late(self, workers: int, seconds: float) -> str:
        """What to tell of a training that waits for its workers."""
        gpus = f" and {self.gpus} GPU" if self.gpus else ""
        what = f"a worker with {self.cpus} CPU{gpus}"
        if workers > 1:
            what = f"{workers} workers, each with {self.cpus} CPU{gpus}"
        return (
            f"nothing began on the Ray cluster in {seconds:.0f} s; it may have no room for {what}: the training waits"
        )

    def knock(self) -> None:
        """Raises Unavailable if nothing listens at the address; Ray itself waits 40 s for that."""
        if self.address == ANY_ADDRESS:
            return
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, problem: str) -> Unavailable:
        return Unavailable(
            Reason.DEPENDENCY_UNAVAILABLE, f"no Ray cluster at FLARE_ML_RAY_ADDRESS={self.address}: {problem}"
        )
