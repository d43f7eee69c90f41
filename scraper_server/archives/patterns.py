"""Patterns for paths: `*` and `?` stop at slashes, `**` does not."""

import re
from collections.abc import Callable


def matcher(pattern: str) -> Callable[[str], bool]:
    """Tells whether a whole path fits. A folder `**/` may be none at all, so that `**/a.csv` fits `a.csv`.

    The time is bounded whatever the pattern: a star takes as little as it can and is never tried again (an atomic
    group), which loses no match since a later star takes whatever an earlier one left.
    """
    first, *others = re.split(r"((?:(?<=/)|^)\*\*/|\*\*)", pattern)
    parts = [_block(first, is_last=not others)]
    for at in range(0, len(others), 2):
        is_last = at + 2 == len(others)
        folders = "(?:.*?/)??" if others[at].endswith("/") else ".*?"
        block = folders + _block(others[at + 1], is_last=is_last)
        parts.append(block if is_last else f"(?>{block})")
    compiled = re.compile("".join(parts), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _block(pattern: str, *, is_last: bool) -> str:
    """What stands between two `**`."""
    first, *others = ["".join("[^/]" if c == "?" else re.escape(c) for c in piece) for piece in pattern.split("*")]
    if not others:
        return first
    *inner, end = others
    stars = "".join(f"(?>[^/]*?{piece})" for piece in inner)
    return first + stars + (f"[^/]*{end}" if is_last else f"(?>[^/]*?{end})")
