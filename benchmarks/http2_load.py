"""h2load as a client of unary gRPC methods: what it is given, and what it found."""

import shutil
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = struct.Struct(">BI")


@dataclass(frozen=True)
class Load:
    """What a load of calls found: calls a second, and when each call began and how long it took, in microseconds."""

    rate: float
    began: list[int]
    """Since 1970, by the machine's clock."""
    microseconds: list[int]

    def percentile(self, share: int) -> float:
        """The microseconds that this many of 100 calls stay below."""
        return statistics.quantiles(self.microseconds, n=100)[share - 1]

    def within(self, first: float, last: float) -> "Load":
        """The calls that were under way at some time between two points of that clock, in microseconds."""
        calls = zip(self.began, self.microseconds, strict=True)
        chosen = [(began, taken) for began, taken in calls if began <= last and began + taken >= first]
        return Load(self.rate, [began for began, _ in chosen], [taken for _, taken in chosen])


def load(address: str, method: str, message: bytes, headers: Mapping[str, str], clients: int, calls: int) -> Load:
    """Calls `method` (`/package.Service/Method`) `calls` times, each of `clients` connections one after another.

    h2load takes any answer with HTTP status 200 for a success, a failed call too: who measures has to see that calls
    of this message succeed.

    Raises:
        RuntimeError: h2load is not there, or calls got no answer.
    """
    program = shutil.which("h2load")
    if program is None:
        raise RuntimeError("h2load is not on the PATH: it is in the package nghttp2-client of Debian")
    with tempfile.TemporaryDirectory() as name:
        body, log = Path(name) / "body", Path(name) / "calls.tsv"
        body.write_bytes(PREFIX.pack(0, len(message)) + message)
        given = {"content-type": "application/grpc", "te": "trailers", **headers}
        command = [program, "-c", str(clients), "-m", "1", "-n", str(calls), "-d", str(body), f"--log-file={log}"]
        command += [word for key, value in given.items() for word in ("-H", f"{key}: {value}")]
        done = subprocess.run(
            [*command, f"http://{address}{method}"], capture_output=True, text=True, check=False, timeout=300
        )
        lines = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    answered = [(int(began), int(duration)) for began, status, duration in lines if status == "200"]
    rates = [line.split(",")[1] for line in done.stdout.splitlines() if line.startswith("finished in")]
    if len(answered) != calls or not rates:
        raise RuntimeError(f"{len(answered)} of {calls} calls of {method} were answered:\n{done.stdout}{done.stderr}")
    rate = float(rates[0].removesuffix("req/s"))
    return Load(rate, [began for began, _ in answered], [duration for _, duration in answered])
