"""Writes requirements.lock: every version that `pip install .[dev]` resolves to today, in a fresh environment.

torch is pinned first: its CPU build serves everybody here, and a newer or unpinned one brings gigabytes of CUDA.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINNED_FIRST = ["torch==2.13.0"]
HEAD = "# Made by `make lock`. The versions of everything in .venv; `make demo` and `make test` install them.\n"


def main() -> int:
    """Resolves and writes the lock."""
    with tempfile.TemporaryDirectory() as directory:
        python = Path(directory) / "bin" / "python"
        _run(sys.executable, "-m", "venv", directory)
        pip = (str(python), "-m", "pip", "--quiet", "--disable-pip-version-check")
        _run(*pip, "install", *PINNED_FIRST)
        _run(*pip, "install", *PINNED_FIRST, f"{ROOT}[dev]")
        frozen = subprocess.run([*pip, "freeze", "--exclude", "flare"], capture_output=True, text=True, check=True)
    lines = [_without_build(line) for line in frozen.stdout.splitlines()]
    (ROOT / "requirements.lock").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages")
    return 0


def _without_build(line: str) -> str:
    """`torch==2.13.0+cpu` or a path to a wheel as the version alone: which build is taken is the index's to say."""
    name, at, _ = line.partition(" @ ")
    if at:
        version = line.rsplit("/", 1)[1].split("-")[1]
        line = f"{name}=={version.replace('%2B', '+')}"
    return line.split("+", 1)[0]


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
