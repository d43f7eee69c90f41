"""`flare login`: who later commands are."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

import flare_client
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_json, stdout
from flare_client.profile import ProfileStore
from flare_client.services.data_directory import DataDirectory


def login(
    username: Annotated[str | None, typer.Option("--username", "-u", help="account; asked for if left out")] = None,
    password_file: Annotated[Path | None, typer.Option(help="file that holds the password")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="folder of `flare up`: takes its addresses, and admin with its first password")
    ] = None,
    auth_address: Annotated[str | None, typer.Option(help="HOST:PORT of the auth service")] = None,
    scraper_address: Annotated[str | None, typer.Option(help="HOST:PORT of the scraper service")] = None,
    ml_address: Annotated[str | None, typer.Option(help="HOST:PORT of the ML service")] = None,
    tls: Annotated[bool, typer.Option("--tls", help="connect with TLS")] = False,
    ca_certificate: Annotated[Path | None, typer.Option(help="own certificate authority, PEM; implies --tls")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="plain text to another machine, spelled out")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Log in, for this and later commands. The password is not stored."""
    if data_dir is not None:
        data = DataDirectory(data_dir)
        addresses = data.addresses()
        if addresses is None:
            raise CommandError(f"{data.path} is not a folder of `flare up`: start that first, or give the addresses")
        auth_address = auth_address or addresses.auth
        scraper_address = scraper_address or addresses.scraper
        ml_address = ml_address or addresses.ml
        username = username or "admin"
        password_file = password_file or (data.admin_password_file if username == "admin" else None)
    username = username or _asked("User name")
    password = password_file.read_text().strip() if password_file else _asked("Password", hidden=True)
    profile = flare_client.login(
        username,
        password,
        auth=auth_address,
        scraper=scraper_address,
        ml=ml_address,
        tls=tls or None,
        ca_certificate=ca_certificate,
        insecure=insecure or None,
    )
    if output is OutputFormat.JSON:
        expires = datetime.fromtimestamp(profile.tokens.access_expire_time, UTC)
        print_json(
            {
                "subject": profile.tokens.subject,
                "auth_address": profile.auth_address,
                "scraper_address": profile.scraper_address,
                "ml_address": profile.ml_address,
                "access_expire_time": expires.isoformat(),
                "stored_in": str(ProfileStore().path),
            }
        )
    else:
        stdout().print(f"Logged in as {profile.tokens.subject} at {profile.auth_address}.")


def _asked(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        option = "--password-file" if hidden else "--username"
        raise CommandError(f"there is no terminal to ask for the {what.lower()}: give {option}")
    answer = typer.prompt(what, hide_input=hidden, err=True)
    assert isinstance(answer, str)
    return answer
