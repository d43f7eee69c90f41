"""Holds the contracts against buf's rules: lint, format, and nothing that breaks those who use main's."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BASE = "main"


def main() -> int:
    """Runs buf's checks; prints what it finds."""
    sys.path.insert(0, str(ROOT))
    from tools.make_protos import ensure_environment

    buf = str(ensure_environment() / "buf")
    checks = [["lint"], ["format", "--diff", "--exit-code", "protos"]]
    if _has_base():
        checks.append(["breaking", "protos", "--against", f".git#branch={BASE},subdir=protos"])
    else:
        print(f"buf breaking: left out, there is no branch '{BASE}' here to compare with")
    failed = [check[0] for check in checks if subprocess.run([buf, *check], cwd=ROOT, check=False).returncode]
    for name in failed:
        print(f"buf {name} failed", file=sys.stderr)
    return bool(failed)


def _has_base() -> bool:
    command = ["git", "rev-parse", "--verify", "--quiet", f"{BASE}:protos"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
