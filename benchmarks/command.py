"""The command line of a set of figures: names them, takes the sizes, prints a JSON object a line."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields

from benchmarks.figures import Figure
from benchmarks.sizes import Sizes

Figures = Mapping[str, Callable[[Sizes], Figure]]


def measure(program: str, description: str | None, figures: Figures, arguments: list[str] | None) -> None:
    """Measures the figures named in `arguments`, or all."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"of {', '.join(figures)}; all if none is named")
    sizes = parser.add_argument_group("sizes")
    for field in fields(Sizes):
        sizes.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default, help="%(default)s")
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.figures if name not in figures]
    if unknown:
        parser.error(f"no figure {unknown[0]!r}: there are {', '.join(figures)}")
    chosen = Sizes(**{field.name: getattr(parsed, field.name) for field in fields(Sizes)})
    for name in parsed.figures or figures:
        print(figures[name](chosen).line(), flush=True)
