"""`flare models drift` and `flare models shadow`: what versions do beside answering."""

from __future__ import annotations

from typing import Annotated

import typer
from flare.ml.v1 import model_pb2
from flare.ml.v1 import monitoring_pb2 as pb

import flare_client
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table, stderr
from flare_client.cli.words import moment
from flare_client.names import short

Reset = Annotated[bool, typer.Option("--reset", help="count anew from now on, and show what was counted until now")]

ANEW = "Counted anew from now on. Until now:"
SHOWN_COLUMNS = 20


def drift(
    version: Annotated[str, typer.Argument(metavar="MODEL", help="iris, iris@prod, or models/iris/versions/3")],
    column: Annotated[str, typer.Option(metavar="NAME", help="show the bins of this column or target")] = "",
    reset: Reset = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show how far the rows that a version predicted for are from those of its training."""
    with flare_client.connect() as flare:
        if column:
            _require_column(column, flare.models.version(version).signature)
        found = flare.monitoring.reset_drift(version) if reset else flare.monitoring.drift(version)
    if reset:
        stderr().print(ANEW)
    if output is OutputFormat.JSON:
        print_json(found)
        return
    columns = [*found.outputs, *found.inputs]
    _print_counts(found)
    chosen = [each for each in columns if each.column == column]
    for each in chosen:
        _print_bins(each)
    if not chosen:
        _print_drifts([] if column else columns)


def _require_column(name: str, signature: model_pb2.Signature) -> None:
    names = [*(target.name for target in signature.targets), *(column.name for column in signature.inputs)]
    if name not in names:
        more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
        raise CommandError(f"there is no column {name!r}: it has {', '.join(names[:SHOWN_COLUMNS])}{more}")


def _print_counts(found: pb.VersionDrift) -> None:
    reference = found.reference_row_count
    print_fields(
        [
            ("version", short(found.version)),
            ("since", moment(found.since_time)),
            ("rows", f"{found.row_count:,}"),
            ("dropped", f"{found.dropped_row_count:,}" if found.dropped_row_count else ""),
            ("against", f"{reference:,} rows of training" if reference else ""),
            ("problem", found.problem),
        ]
    )


def _print_drifts(columns: list[pb.ColumnDrift]) -> None:
    print_table(
        ["COLUMN", "OF IT", ">PSI", ">BY CHANCE", "DRIFT"],
        (
            (
                each.column,
                _word(pb.DriftQuantity.Name(each.quantity)),
                f"{each.stability_index:.4f}",
                f"{each.chance_index:.4f}",
                _word(pb.DriftBand.Name(each.band)),
            )
            for each in columns
        ),
        empty="Nothing to compare yet.",
    )


def _print_bins(column: pb.ColumnDrift) -> None:
    print_table(
        [f"{column.column}, {_word(pb.DriftQuantity.Name(column.quantity))}", ">IN TRAINING", ">NOW"],
        ((_bin(each), f"{each.reference_share:.1%}", f"{each.share:.1%}") for each in column.bins),
        empty="No bins.",
    )


def _bin(found: pb.DriftBin) -> str:
    match found.WhichOneof("bin"):
        case "category":
            return found.category
        case "range":
            lower = f"{found.range.lower:.4g}" if found.range.HasField("lower") else ""
            upper = f"{found.range.upper:.4g}" if found.range.HasField("upper") else ""
            return f"{lower} to {upper}" if lower and upper else (f"below {upper}" if upper else f"from {lower}")
        case "unknown":
            return "(missing or unknown)"
        case _:
            return "(all others)"


def _word(name: str) -> str:
    return name.rpartition("_")[2].lower()


def shadow(
    alias: Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="such as iris@prod")],
    reset: Reset = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show how an alias's shadow answers beside those that answer."""
    with flare_client.connect() as flare:
        found = flare.monitoring.reset_shadow(alias) if reset else flare.monitoring.shadow(alias)
    if reset:
        stderr().print(ANEW)
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
