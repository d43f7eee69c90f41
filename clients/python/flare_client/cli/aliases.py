"""`flare models set-alias` and `flare models delete-alias`: names for versions."""

from __future__ import annotations

from typing import Annotated

import typer

import flare_client
from flare_client.cli.arguments import whole_numbers
from flare_client.cli.failures import CommandError
from flare_client.cli.model_display import print_model
from flare_client.cli.output import Output, OutputFormat

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="such as iris")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="such as prod")]


def set_alias(
    model: ModelArgument,
    alias: AliasArgument,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, help="number of a version, such as 3")
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION=WEIGHT", help="share of the predictions: 3=90; once for each version"),
    ] = None,
    shadow: Annotated[
        int | None,
        typer.Option(
            metavar="VERSION",
            min=1,
            help="version that is asked too, its answers only compared; the one that there is stays unless given",
        ),
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="ask no other version any more")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Name a version, or share the predictions with a name out among several."""
    if version is None and not share:
        raise CommandError("an alias needs a VERSION, or --share VERSION=WEIGHT for each of several")
    if shadow is not None and no_shadow:
        raise CommandError("--shadow and --no-shadow contradict each other: give one of them")
    shares = whole_numbers("--share", share or ())
    with flare_client.connect() as flare:
        changed = flare.models.set_alias(model, alias, version, shares=shares, shadow=0 if no_shadow else shadow)
    print_model(changed, output)


def delete_alias(model: ModelArgument, alias: AliasArgument, output: Output = OutputFormat.TEXT) -> None:
    """Delete an alias; its versions stay."""
    with flare_client.connect() as flare:
        print_model(flare.models.delete_alias(model, alias), output)
