"""`flare models shadow`: how versions do beside those that answer."""

from __future__ import annotations

from typing import Annotated

import typer
from flare.ml.v1 import monitoring_pb2 as pb

import flare_client
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table
from flare_client.cli.words import moment
from flare_client.names import short

Reset = Annotated[bool, typer.Option("--reset", help="count anew from now on, and show what was counted until now")]


def shadow(
    alias: Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="such as iris@prod")],
    reset: Reset = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show how an alias's shadow answers beside those that answer."""
    with flare_client.connect() as flare:
        found = flare.monitoring.reset_shadow(alias) if reset else flare.monitoring.shadow(alias)
    if output is OutputFormat.JSON:
        print_json(found)
    else:
        _print_shadow(found)


def _print_shadow(found: pb.AliasShadow) -> None:
    print_fields(
        [
            ("alias", short(found.name)),
            ("shadow", short(found.shadow_version) if found.shadow_version else "none"),
            ("since", moment(found.since_time)),
            ("requests", f"{found.request_count:,}"),
            ("rows", f"{found.row_count:,}"),
            ("failed", f"{found.failure_count:,}"),
            ("last failure", found.last_failure),
            ("waiting", f"{found.waiting_request_count:,}"),
            ("dropped", f"{found.dropped_request_count:,}"),
            ("ms a request", f"{found.mean_milliseconds:.3f}"),
            ("ms, shadow", f"{found.shadow_mean_milliseconds:.3f}"),
        ]
    )
    print_table(
        ["TARGET", ">ROWS", ">EQUAL LABELS", ">APART ON AVERAGE"],
        (
            (
                target.target,
                f"{target.row_count:,}",
                f"{target.label_agreement:.2%}" if target.HasField("label_agreement") else "",
                f"{target.mean_absolute_difference:.4g}",
            )
            for target in found.targets
        ),
        empty="Nothing compared yet.",
    )
