"""The TypeScript client: compiles strict, passes its own tests, and its example trains on the running services."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from tests.conftest import FlareServices
    from tests.end_to_end.conftest import CheckExample

CLIENT = Path(__file__).parents[2] / "clients" / "ts"
OLDEST_NODE = 20

pytestmark = pytest.mark.timeout(300)  # the first one installs the packages


class Npm(Protocol):
    """Runs npm in the client's folder and returns what it printed; fails with all of it."""

    def __call__(self, *arguments: str, environment: Mapping[str, str] = os.environ) -> str: ...


@pytest.fixture(scope="module")
def npm() -> Npm:
    """npm, with the packages of the committed lock installed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the TypeScript client can't be tested")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version}: the TypeScript client needs {OLDEST_NODE} or later")

    def run(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
        done = subprocess.run(
            ["npm", *arguments], cwd=CLIENT, env={**environment, "NO_COLOR": "1"}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"npm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    lock, installed = CLIENT / "package-lock.json", CLIENT / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("ci", "--no-audit", "--no-fund")
    return run


def test_compiles_in_strict_mode(npm: Npm) -> None:
    npm("run", "check")


def test_passes_its_own_tests(npm: Npm) -> None:
    assert " passed" in npm("test")


def test_example_trains_and_predicts(npm: Npm, flare_services: "FlareServices", check_example: "CheckExample") -> None:
    check_example(npm("run", "--silent", "example", environment=flare_services.environment()))


def test_example_tells_a_wrong_password_in_one_line(npm: Npm, flare_services: "FlareServices") -> None:
    npm("run", "--silent", "build")
    environment = {**flare_services.environment(), "FLARE_PASSWORD": "wrong"}
    npm("exec", "--", "tsc", "--project", "tsconfig.examples.json")
    done = subprocess.run(["node", "build/train.js"], cwd=CLIENT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("train: CREDENTIALS_REJECTED: ")
    assert done.stderr.count("\n") == 1
