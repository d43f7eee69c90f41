"""`flare credentials`: your own accounts at the sources of data sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from flare.scraper.v1 import source_pb2

import flare_client
from flare_client.choices import short_name
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, stderr
from flare_client.cli.words import moment

app = typer.Typer(name="credentials", help="Your own accounts at the sources of data sets.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="kaggle")]


@app.command("set")
def set_(
    source: Source = "kaggle",
    username: Annotated[str, typer.Option("--username", "-u", help="account of an API key; none for a token")] = "",
    file: Annotated[
        Path | None,
        typer.Option(help="kaggle.json, or a file that holds just the token; without it the secret is asked for"),
    ] = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Set your API key or access token. The server keeps it encrypted and never shows it."""
    if source != "kaggle":
        raise CommandError(f"source {source!r} takes no credentials: kaggle does")
    username, secret = _secret(username, file)
    with flare_client.connect() as flare:
        if username:
            known = flare.credentials.set_kaggle_key(username, secret)
        else:
            known = flare.credentials.set_kaggle_token(secret)
    _print_credentials(known, output)


@app.command()
def show(source: Source = "kaggle", output: Output = OutputFormat.TEXT) -> None:
    """Show whose credentials are set."""
    with flare_client.connect() as flare:
        known = flare.credentials.get(source)
    _print_credentials(known, output)


@app.command()
def delete(source: Source = "kaggle", output: Output = OutputFormat.TEXT) -> None:
    """Make the server forget them."""
    with flare_client.connect() as flare:
        flare.credentials.delete(source)
    if output is OutputFormat.JSON:
        print_json({})
    else:
        stderr().print(f"Forgot your credentials for {source}.")


def _secret(username: str, file: Path | None) -> tuple[str, str]:
    """The account, empty for a token, and its key or the token."""
    if file is None:
        if not sys.stdin.isatty():
            raise CommandError("there is no terminal to ask for the secret: give --file")
        what = f"API key of {username}" if username else "Access token"
        return username, str(typer.prompt(what, hide_input=True, err=True)).strip()
    text = file.read_text().strip()
    if not text.startswith("{"):
        return username, text
    try:
        content = json.loads(text)
        return username or str(content["username"]), str(content["key"])
    except (ValueError, KeyError) as error:
        raise CommandError(f"{file} is no kaggle.json: it needs a username and a key") from error


def _print_credentials(known: source_pb2.SourceCredentials, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(known)
        return
    print_fields(
        [
            ("source", short_name(source_pb2.SourceKind, known.source)),
            ("account", known.account or "that of the token"),
            ("set", moment(known.update_time)),
        ]
    )
