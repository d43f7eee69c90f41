"""Arguments that hold more than one value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from flare_client.cli.failures import CommandError
from flare_client.sweep_requests import Choice, Range, between

T = TypeVar("T")


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` of an option given several times. Raises CommandError for any other form."""
    values = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not name or not separator:
            raise CommandError(f"{option} {text!r} is not of the form NAME=VALUE")
        values[name] = value
    return values


def numbers_by_name(option: str, texts: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER` of an option given several times. Raises CommandError for any other form."""
    try:
        return {name: float(value) for name, value in pairs(option, texts).items()}
    except ValueError as error:
        raise CommandError(f"{option} {' '.join(texts)!r} is not of the form NAME=NUMBER") from error


def whole_numbers(option: str, texts: Sequence[str]) -> dict[int, int]:
    """`3=90` of an option given several times, from 1 up. Raises CommandError for anything else, and a number twice."""
    values: dict[int, int] = {}
    for text in texts:
        found = re.fullmatch(r"([1-9][0-9]*)=([1-9][0-9]*)", text)
        if found is None:
            raise CommandError(f"{option} {text!r} is not of the form NUMBER=NUMBER, both at least 1, such as 3=90")
        if int(found[1]) in values:
            raise CommandError(f"{option} gives {found[1]} twice")
        values[int(found[1])] = int(found[2])
    return values


def numbers(option: str, text: str, convert: Callable[[str], T], separator: str = ",") -> list[T]:
    """`64,32`. Raises CommandError if a part is no number."""
    try:
        return [convert(part) for part in text.split(separator) if part.strip()]
    except ValueError as error:
        example = separator.join(["8", "8"])
        raise CommandError(f"{option} {text!r} is not a list of numbers such as {example}") from error


def byte_count(option: str, text: str) -> int:
    """`300`, `10kB`, `2.5 GB`; 0 for nothing. Raises CommandError for any other form."""
    if not text:
        return 0
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kKmMgGtT]?)[bB]?", text.strip())
    if found is None:
        raise CommandError(f"{option} {text!r} is not a size such as 500kB, 10MB or 2GB")
    thousands = " kmgt".index(found.group(2).lower() or " ")
    return round(float(found.group(1)) * 10.0 ** (3 * thousands))


def space_of(texts: Sequence[str]) -> dict[str, Range | list[Choice]]:
    """What a sweep varies: `PATH=LOW..HIGH`, with `:log` or `:STEP` if wanted, or `PATH=A,B,C`, of several options.

    Raises:
        CommandError: One has another form.
    """
    return {path: _values(path, values) for path, values in pairs("--parameter", texts).items()}


def _values(path: str, text: str) -> Range | list[Choice]:
    found = re.fullmatch(r"(?P<low>[^:,]+)\.\.(?P<high>[^:,]+)(?::(?P<how>log|[0-9]+))?", text)
    if found is None:
        values = [cell(part.strip()) for part in text.split(",")]
        if None in values or ".." in text:
            raise CommandError(f"--parameter {path}={text!r} is not of the form LOW..HIGH, LOW..HIGH:log or A,B,C")
        return [value for value in values if value is not None]
    try:
        low, high = float(found["low"]), float(found["high"])
    except ValueError as error:
        raise CommandError(f"--parameter {path}={text!r} is not a range of numbers such as 1e-4..0.1") from error
    is_log = found["how"] == "log"
    return between(low, high, log=is_log, step=0 if is_log or not found["how"] else int(found["how"]))


def cell(text: str) -> bool | int | float | str | None:
    """A value as a person types it: empty is missing, then true and false, numbers, and strings."""
    if text == "":
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float, str)) else text
