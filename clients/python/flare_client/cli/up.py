"""`flare up`: everything on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from flare_client.cli.output import Output, OutputFormat, print_json_line, stderr, stdout
from flare_client.services import Addresses, Supervisor
from flare_client.services.addresses import DEFAULT_AUTH_ADDRESS, DEFAULT_ML_ADDRESS, DEFAULT_SCRAPER_ADDRESS
from flare_client.services.failures import ServiceEnded

DEFAULT_DRAIN_SECONDS = 20.0


def up(
    data_dir: Annotated[Path, typer.Option(help="folder for everything that is kept; made if it is not there")],
    auth_address: Annotated[str, typer.Option(help="where the auth service listens")] = DEFAULT_AUTH_ADDRESS,
    scraper_address: Annotated[str, typer.Option(help="where the scraper service listens")] = DEFAULT_SCRAPER_ADDRESS,
    ml_address: Annotated[str, typer.Option(help="where the ML service listens")] = DEFAULT_ML_ADDRESS,
    auth_http_address: Annotated[
        str | None,
        typer.Option(help="where the auth service publishes its keys", show_default="127.0.0.1:50054, or as before"),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0.1, help="how long the services may take to end after Ctrl-C")
    ] = DEFAULT_DRAIN_SECONDS,
    log_to_terminal: Annotated[
        bool, typer.Option("--log-to-terminal", help="show the services' logs here too")
    ] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Start the three services on this machine and keep them running until Ctrl-C.

    When one of them ends before, the others end too.
    """
    addresses = Addresses(auth_address, scraper_address, ml_address, auth_http_address or "")
    with Supervisor(data_dir, addresses, drain_seconds=drain_seconds, log_to_terminal=log_to_terminal) as supervisor:
        supervisor.stop_on_signals()
        progress = stderr()
        progress.print(f"Starting on {supervisor.data.path} ...")
        try:
            if supervisor.wait_until_healthy(lambda service: progress.print(f"  {service} is healthy")):
                _say_ready(supervisor, output)
                supervisor.wait_for_stop()
        except ServiceEnded:
            progress.print("A service has ended: the others save what runs, and end too.")
            raise
        progress.print("Stopping: the services save what runs. Ctrl-C again ends them at once.")
    stderr().print("Stopped.")


def _say_ready(supervisor: Supervisor, output: OutputFormat) -> None:
    data, addresses = supervisor.data, supervisor.addresses
    if output is OutputFormat.JSON:
        print_json_line(
            {
                "state": "healthy",
                "auth_address": addresses.auth,
                "scraper_address": addresses.scraper,
                "ml_address": addresses.ml,
                "data_dir": str(data.path),
                "username": "admin",
                "password_file": str(data.admin_password_file),
            }
        )
        return
    console = stdout()
    console.print("[bold green]Flare is up: all three services are healthy.[/]")
    for service, address in addresses.by_service().items():
        console.print(f"  {service:<8} {address:<22} log: {data.log_file(service)}", soft_wrap=True)
    console.print(f"Log in with:  flare login --data-dir {shlex.quote(str(data.path))}", soft_wrap=True)
    console.print(f"  (account admin, password in {data.admin_password_file})", soft_wrap=True)
    console.print("Stop with Ctrl-C.")
