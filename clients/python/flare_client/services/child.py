"""One service as a child process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

LOG_TAIL_BYTES = 4096
PR_SET_PDEATHSIG = 1


class Child:
    """A running service. Its output goes to its log file, and to the terminal too if asked."""

    def __init__(self, service: str, environment: Mapping[str, str], log_file: Path, *, log_to_terminal: bool) -> None:
        self.service = service
        self.log_file = log_file
        self._log_start = log_file.stat().st_size if log_file.exists() else 0
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the command is ours alone
                [sys.executable, "-m", f"{service}_server"],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if log_to_terminal else log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must reach the supervisor alone, which then drains the services
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        if log_to_terminal:
            assert self._process.stdout is not None
            self._copier = threading.Thread(target=self._copy, args=(self._process.stdout,), daemon=True)
            self._copier.start()

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Asks it to drain and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, with the workers of its process group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """True if it ended within the time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def describe_end(self) -> str:
        """Says how it ended, and where its log is; with its own last words if it failed."""
        status = self._process.poll() or 0
        if status < 0:
            end = f"was ended by {signal.Signals(-status).name}"
        elif status == 0:
            end = "ended in good order, as SIGTERM makes it"
        else:
            end = ": ".join(filter(None, [f"ended with status {status}", self._last_words()]))
        return f"the {self.service} service {end} (log: {self.log_file})"

    def _last_words(self) -> str:
        """The last line that is for people; empty if there are only entries of the log, which are JSON."""
        with self.log_file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - LOG_TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").split("\n")]
        return next((line for line in reversed(lines) if line and not line.startswith("{")), "")

    def _copy(self, output: IO[bytes]) -> None:
        with self.log_file.open("ab") as log:
            for line in output:
                log.write(line)
                log.flush()
                sys.stderr.write(f"{self.service:<7} | {line.decode(errors='replace')}")


def _end_with_parent() -> None:
    # A supervisor that is killed can't pass the signal on; the kernel then sends SIGTERM for it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
