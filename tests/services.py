"""The three services as `flare up` starts them, in a process of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

START_SECONDS = 60


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

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """A call's metadata with a new access token."""
        login = auth_service_pb2.LoginRequest(username=self.username, password=self.password)
        with grpc.insecure_channel(self.auth_address) as channel:
            token = auth_service_pb2_grpc.AuthServiceStub(channel).Login(login).access_token
        return (("authorization", f"Bearer {token}"),)


def start_services(data_dir: Path, *arguments: str) -> FlareServices:
    """Runs `flare up` on free loopback ports and waits until it says that all three are healthy."""
    command = [sys.executable, "-m", "flare_client.cli.main", "up", "--data-dir", str(data_dir), "-o", "json"]
    if not arguments:
        arguments = (
            *("--auth-address", "127.0.0.1:0"),
            *("--scraper-address", "127.0.0.1:0"),
            *("--ml-address", "127.0.0.1:0"),
            *("--auth-http-address", "127.0.0.1:0"),
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


def start_again(services: FlareServices) -> FlareServices:
    """The same folder and the same addresses, as an operator would start it again."""
    return start_services(
        services.data_dir,
        *("--auth-address", services.auth_address),
        *("--scraper-address", services.scraper_address),
        *("--ml-address", services.ml_address),
    )


def service_process(services: FlareServices, module: str) -> psutil.Process:
    """The process of one service."""
    (child,) = [
        child for child in psutil.Process(services.process.pid).children() if module in " ".join(child.cmdline())
    ]
    return child
