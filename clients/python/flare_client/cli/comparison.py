"""`flare models compare`: which of several versions is better, and how sure that is."""

from __future__ import annotations

from typing import Annotated

import typer
from flare.ml.v1 import evaluation_pb2 as pb

import flare_client
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table, stdout
from flare_client.names import short


def compare(
    versions: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="iris, iris@prod, or models/iris/versions/3")
    ],
    view: Annotated[
        str | None, typer.Option(metavar="DATASET/VIEW", help="whose test rows; that of the first unless given")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0, max=0.999, help="of the intervals; 0.95 unless given")] = 0.0,
    resamples: Annotated[int, typer.Option(min=0, help="draws of the rows for the intervals; 2000 unless given")] = 0,
    seed: Annotated[int, typer.Option(help="decides the draws")] = 0,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Measure versions on the same test rows, each against the first."""
    if len(versions) < 2:
        raise CommandError("compare two versions or more: `flare models compare iris@prod iris`")
    with flare_client.connect() as flare:
        found = flare.compare(*versions, view=view, confidence=confidence, resamples=resamples, seed=seed)
    if output is OutputFormat.JSON:
        print_json(found)
    else:
        print_comparison(found)


def print_comparison(comparison: pb.ModelComparison) -> None:
    """Prints a table for each target, and what the tests say."""
    first, *others = (short(version.name) for version in comparison.versions)
    print_fields(
        [
            ("test rows of", short(comparison.view)),
            ("rows", f"{comparison.row_count:,}"),
            ("first", first),
            ("against it", ", ".join(others)),
        ]
    )
    for version in comparison.versions:
        if not version.trained_on_view:
            known = f"on {short(version.view)}" if version.view and version.view != comparison.view else "on other rows"
            _print(f"note: {short(version.name)} was trained {known}, which may hold some of these test rows")
    for target in comparison.targets:
        if target.unseen_row_count:
            _print(f"note: {target.unseen_row_count:,} rows have a '{target.target}' that no version knows")
        _print_target(comparison, target)


def _print_target(comparison: pb.ModelComparison, target: pb.TargetComparison) -> None:
    interval = f">{100 * comparison.confidence:.4g} % INTERVAL"
    rows: list[list[str]] = []
    for metric in target.metrics:
        differences = {each.version: each for each in metric.differences}
        for place, (version, estimate) in enumerate(zip(comparison.versions, metric.estimates, strict=True)):
            row = [
                "" if place else f"{metric.name} ({'higher' if metric.higher_is_better else 'lower'} is better)",
                short(version.name),
                _number(estimate.value),
                f"{_number(estimate.lower)} to {_number(estimate.upper)}",
            ]
            if found := differences.get(version.name):
                between = found.difference
                row += [
                    _signed(between.value),
                    f"{_signed(between.lower)} to {_signed(between.upper)}",
                    f"{found.p_value:.2g}",
                ]
            else:
                row += ["", "", ""]
            rows.append(row)
    print_table([target.target, "VERSION", ">VALUE", interval, ">VS FIRST", interval, ">P"], rows, empty="No metrics.")
    first = short(comparison.versions[0].name)
    for test in target.mcnemar_tests:
        _print(
            f"{short(test.version)} alone is right on {test.only_version_count:,} rows, {first} alone on "
            f"{test.only_first_count:,}: p {test.p_value:.2g} (McNemar, mid-p; exact {test.exact_p_value:.2g})"
        )
    for ranked in target.signed_rank_tests:
        _print(
            f"{short(ranked.version)} errs less than {first} on {ranked.smaller_count:,} rows, more on "
            f"{ranked.larger_count:,}: p {ranked.p_value:.2g} (Wilcoxon's signed ranks)"
        )


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if abs(value) < 1000 else f"{value:+,.1f}"


def _print(line: str) -> None:
    stdout().print(line, soft_wrap=True, markup=False)
