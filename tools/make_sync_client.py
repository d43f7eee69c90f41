"""Makes the blocking Python client from the asynchronous one.

    python tools/make_sync_client.py            writes clients/python/flare_client/sync
    python tools/make_sync_client.py --check    changes nothing, and fails if it is not what would be written

`flare_client/aio` is the source. Each of its files becomes the file of the same name in `flare_client/sync`: `async`
and `await` are dropped, and the names below are replaced. Only `runtime.py` is written by hand for either side.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "clients" / "python" / "flare_client"
BY_HAND = "runtime.py"
HEADER = "# Made from flare_client/aio/{name} by tools/make_sync_client.py: edit that, then run this.\n"

DROPPED_WITH_NEXT_SPACE = ("async", "await")
UNWRAPPED = ("Awaitable",)  # Awaitable[X] becomes X
REPLACED = {
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "anext": "next",
    "aio": "sync",
}
REPLACED_IN_DOCUMENTATION = {
    "asynchronous client: `async with flare_client.aio.connect()": "blocking client: `with flare_client.connect()",
}


def translate(source: str) -> str:
    """The blocking twin of an asynchronous module, not yet formatted."""
    lines = source.splitlines(keepends=True)
    pieces: list[str] = []
    row, column = 1, 0
    opened: list[bool] = []  # for each open bracket, whether it goes with a dropped name
    skips_space = unwraps = False
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        gap = _between(lines, (row, column), token.start)
        row, column = token.end
        text = token.string
        if skips_space and gap.strip(" ") == "":
            gap = ""
        skips_space = False
        if token.type == tokenize.NAME and text in DROPPED_WITH_NEXT_SPACE:
            text, skips_space = "", True
        elif token.type == tokenize.NAME and text in UNWRAPPED and following.string == "[":
            text, unwraps = "", True
        elif token.type == tokenize.NAME:
            text = REPLACED.get(text, text)
        elif token.type == tokenize.OP and text in "([{":
            opened.append(unwraps)
            text, unwraps = "" if unwraps else text, False
        elif token.type == tokenize.OP and text in ")]}" and opened.pop():
            text = ""
        elif token.type == tokenize.STRING:
            for before, after in REPLACED_IN_DOCUMENTATION.items():
                text = text.replace(before, after)
        pieces += [gap, text]
    return "".join(pieces)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The characters that lie between two tokens."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]] if start[0] <= len(lines) else ""
    between = [lines[start[0] - 1][start[1] :], *lines[start[0] : end[0] - 1]]
    return "".join(between) + (lines[end[0] - 1][: end[1]] if end[0] <= len(lines) else "")


def formatted(source: str, path: Path) -> str:
    """The source as ruff would leave it: imports sorted, unused ones removed, lines wrapped."""
    fix = ["check", "--select", "I,F401", "--fix-only", "--config", "lint.isort.known-first-party=['flare_client']"]
    for arguments in (fix, ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", str(path), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source


def twins() -> dict[Path, str]:
    """What `flare_client/sync` must hold, by path."""
    result = {}
    for path in sorted((PACKAGE / "aio").glob("*.py")):
        if path.name != BY_HAND:
            target = PACKAGE / "sync" / path.name
            result[target] = formatted(HEADER.format(name=path.name) + translate(path.read_text()), target)
    return result


def main() -> int:
    """Writes the twins, or compares them."""
    parser = argparse.ArgumentParser(description="Makes flare_client/sync from flare_client/aio.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file would change")
    check = parser.parse_args().check
    wanted = twins()
    present = {path for path in (PACKAGE / "sync").glob("*.py") if path.name != BY_HAND}
    differing = sorted(
        [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
        + [path for path in present if path not in wanted]
    )
    for path in differing:
        if check:
            print(f"{path.name} in flare_client/sync is not made from flare_client/aio: run tools/make_sync_client.py")
        elif path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
