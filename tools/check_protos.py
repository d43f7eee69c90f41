"""Holds the contracts against buf's rules: lint, format, and nothing that breaks those who use main."""

import subprocess
import sys

from tools.make_protos import ROOT, VENV, prepare_venv

BASE = "main"


def main() -> int:
    """Runs buf's checks; prints what it finds."""
    prepare_venv()
    buf = str(VENV / "bin" / "buf")
    checks = [["lint"], ["format", "--diff", "--exit-code", "protos"]]
    if _has_base():
        checks.append(["breaking", "protos", "--against", f".git#branch={BASE},subdir=protos"])
    else:
        print(f"buf breaking: left out, there is no branch '{BASE}' here to compare with")
    failed = [check[0] for check in checks if subprocess.run([buf, *check], cwd=ROOT, check=False).returncode]
    for name in failed:
        print(f"buf {name} failed", file=sys.stderr)
    return int(bool(failed))


def _has_base() -> bool:
    command = ["git", "rev-parse", "--verify", "--quiet", f"{BASE}:protos"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
