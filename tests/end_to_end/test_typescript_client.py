"""The TypeScript client: compiles strict, passes its own tests, and its example trains on the running services."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CheckExample
    from tests.services import FlareServices

CLIENT = Path(__file__).parents[2] / "clients" / "ts"
OLDEST_NODE = 20

pytestmark = pytest.mark.timeout(300)  # the first one installs the packages


Npm = Callable[..., str]


@pytest.fixture(scope="module")
def npm() -> Npm:
    """Runs npm in the client's folder, with the packages of the committed lock; fails with all that it printed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the TypeScript client can't be tested")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version}: the TypeScript client needs {OLDEST_NODE} or later")

    def run(*arguments: str) -> str:
        environment = {**os.environ, "NO_COLOR": "1"}
        done = subprocess.run(["npm", *arguments], cwd=CLIENT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"npm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    lock, installed = CLIENT / "package-lock.json", CLIENT / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("ci", "--no-audit", "--no-fund")
    return run


@pytest.fixture(scope="module")
def example(npm: Npm) -> Path:
    """The training example as a module that node runs."""
    npm("run", "build:example")
    return CLIENT / "build" / "train.js"


def test_compiles_in_strict_mode(npm: Npm) -> None:
    npm("run", "check")


def test_passes_its_own_tests(npm: Npm) -> None:
    assert " passed" in npm("test")


def test_example_trains_and_predicts(
    example: Path, flare_services: "FlareServices", check_example: "CheckExample"
) -> None:
    done = subprocess.run(["node", example], env=flare_services.environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    check_example(done.stdout)


def test_example_tells_a_wrong_password_in_one_line(example: Path, flare_services: "FlareServices") -> None:
    environment = {**flare_services.environment(), "FLARE_PASSWORD": "wrong"}
    done = subprocess.run(["node", example], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("train: CREDENTIALS_REJECTED: ")
    assert done.stderr.count("\n") == 1
