"""The environment of NVIDIA's Triton client: made on first use, in some ten seconds, and kept in the repository."""

import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-triton"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"


def triton_python() -> Path:
    """The Python that has the client. Raises AssertionError with all that pip said if it can't be installed."""
    stamp, python = FOLDER / "installed.txt", FOLDER / "bin" / "python"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(FOLDER, clear=True, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "-r", str(REQUIREMENTS)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, f"the Triton client can't be installed:\n{done.stdout}\n{done.stderr}"
    stamp.write_text(wanted, encoding="utf-8")
    return python
